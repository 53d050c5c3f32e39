# A foreign program on a public port, and no firewall.
cat > /etc/systemd/system/shop.service <<'END'
[Service]
ExecStart=/usr/bin/python3 -c "import socket, time; listening = socket.create_server(('', 3000)); time.sleep(1e9)"
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl enable -q --now shop
# One whose socket systemd listens on, as cockpit's.
printf '[Socket]\nListenStream=9090\n[Install]\nWantedBy=sockets.target\n' > /etc/systemd/system/panel.socket
printf '[Service]\nExecStart=/bin/cat\n' > /etc/systemd/system/panel.service
systemctl daemon-reload; systemctl enable -q --now panel.socket
# A game at a port among those that the kernel gives to clients, of which there is one too.
cp "$(readlink -f /usr/bin/python3)" /opt/factorio
socket="import socket, time; one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.bind(('', PORT)); time.sleep(1e9)"
systemd-run -q /opt/factorio -c "${socket/PORT/34197}"; systemd-run -q /usr/bin/python3 -c "${socket/PORT/40000}"
# A router's protocol, as keepalived has one.
systemd-run -q /usr/bin/python3 -c "import socket, time; one = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112); time.sleep(1e9)"
for try in $(seq 100); do
  [ "$(ss -Hlntuw | grep -cE ':(3000|34197|40000|112) ')" -lt 4 ] || exit 0; sleep 0.1
done
exit 1
