# The site is Nginx's default server, without a name; mongod has its file elsewhere; a cron job runs by local time; a
# VPN of the kernel's or of a program's listens, without a firewall.
. "$(dirname "$0")/listening.sh"
. "$(dirname "$0")/mongodb_manual.sh"
apt-get install -y -qq --no-install-recommends nginx > /dev/null
listening codementee 8001 127.0.0.1
systemctl disable -q --now codementee-8001; cd /etc/systemd/system
mv codementee-8001.service codementee-backend.service; systemctl daemon-reload; systemctl enable -q --now codementee-backend
rm /etc/nginx/sites-enabled/default
echo 'server { listen 80 default_server; server_name _; location / { proxy_pass http://127.0.0.1:8001; } }' \
  > /etc/nginx/sites-enabled/app
nginx -t -q; systemctl restart nginx
mkdir -p /etc/mongodb; mv /etc/mongod.conf /etc/mongodb/mongod.conf
sed 's,--config [^ ]*,--config /etc/mongodb/mongod.conf,' /lib/systemd/system/mongod.service > mongod.service
systemctl daemon-reload; systemctl enable -q --now mongod
ln -sf /usr/share/zoneinfo/America/New_York /etc/localtime
mkdir -p /etc/cron.d; echo '30 2 * * * root /usr/local/bin/report' > /etc/cron.d/report
cat > vpn.service <<'N'
[Service]
ExecStart=/usr/bin/python3 -c "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 1194)); time.sleep(1e9)"
[Install]
WantedBy=multi-user.target
N
systemctl daemon-reload; systemctl enable -q --now vpn
for try in $(seq 100); do ! ss -Hlun sport = :1194 | grep -q . || exit 0; sleep 0.1; done; exit 1
