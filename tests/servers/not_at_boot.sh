# Sites that a reboot would end: a program from a login, and a unit that is started and not enabled.
cat > /etc/systemd/system/chat.service <<'END'
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /srv 3006
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl start chat
cd /srv; nohup python3 -m http.server --bind 127.0.0.1 3005 < /dev/null > /dev/null 2>&1 &
for try in $(seq 100); do [ "$(ss -Hlnt | grep -cE ':(3005|3006) ')" -lt 2 ] || exit 0; sleep 0.1; done; exit 1
