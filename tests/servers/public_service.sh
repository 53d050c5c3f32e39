# A foreign program on a public port, and no firewall.
cat > /etc/systemd/system/shop.service <<'END'
[Service]
ExecStart=/usr/bin/python3 -c "import socket, time; listening = socket.create_server(('', 3000)); time.sleep(1e9)"
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl enable -q --now shop
for try in $(seq 100); do ! ss -Hltn sport = :3000 | grep -q . || exit 0; sleep 0.1; done; exit 1
