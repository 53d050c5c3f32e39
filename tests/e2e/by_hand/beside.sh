#!/bin/bash
# What is on many a server beside the site of provision.sh: another site, people, programs, jobs and rules of its
# owner's, with secrets where owners put them. Run it as root after provision.sh; "hunter2" is every secret.
set -eu
mkdir -p /var/www/blog; echo blog > /var/www/blog/index.html
cat > /etc/nginx/sites-available/blog <<'N'
upstream node { server 127.0.0.1:3000; }
server { listen 80; server_name blog.example.org www.blog.example.org; root /var/www/blog; location /app/ { proxy_pass http://node; } }
N
ln -sf /etc/nginx/sites-available/blog /etc/nginx/sites-enabled/blog
echo 'server { listen 80; server_name old.example.org; return 200 old; }' >> /etc/nginx/sites-available/codementee
systemctl reload nginx
mkdir -p /etc/letsencrypt/{live,archive}/blog.example.org /etc/letsencrypt/renewal /etc/letsencrypt/renewal-hooks/deploy
openssl req -x509 -newkey rsa:2048 -nodes -days 20 -subj '/O=An Authority/CN=R1' -addext subjectAltName=DNS:blog.example.org \
  -keyout /etc/letsencrypt/archive/blog.example.org/privkey1.pem -out /etc/letsencrypt/archive/blog.example.org/fullchain1.pem 2>/dev/null
ln -sf ../../archive/blog.example.org/fullchain1.pem /etc/letsencrypt/live/blog.example.org/fullchain.pem
printf '%s\n' 'version = 2.1.0' '[renewalparams]' 'authenticator = nginx' 'installer = nginx' \
  'server = https://acme-v02.api.letsencrypt.org/directory' 'renew_hook = systemctl reload nginx' > /etc/letsencrypt/renewal/blog.example.org.conf
touch /etc/letsencrypt/renewal-hooks/deploy/copy
for name in deploy eve; do
  useradd -m -s /bin/bash $name; install -d -m 700 -o $name -g $name /home/$name/.ssh
done
install -m 600 -o deploy -g deploy /root/.ssh/authorized_keys /home/deploy/.ssh/authorized_keys
usermod -aG sudo deploy; echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy
echo 'eve:hunter2' | chpasswd
cat > /var/www/codementee/backend/.env <<'N'
JWT_SECRET="hunter2aGk9PQ=="
# of the payments
export RAZORPAY_KEY='hunter2=x'
DATABASE_URL=postgres://u:hunter2@10.0.0.1/other
DB_NAME=codementee
N
cat > /etc/systemd/system/worker.service <<'N'
[Service]
Environment="SMTP_PASSWORD=hunter2 hunter2" 'API=1' PLAIN=hunter2==
ExecStart=/usr/bin/python3 -c "import time; time.sleep(1e9)" --password hunter2 --url=https://u:hunter2@example.org/
User=deploy
[Install]
WantedBy=multi-user.target
N
cat > /etc/systemd/system/listener.service <<'N'
[Service]
ExecStart=/usr/bin/python3 -c "import socket, time; s = [socket.create_server(('', p)) for p in (8443, 9000, 9999)]; time.sleep(1e9)"
N
systemctl daemon-reload; systemctl enable -q --now worker; systemctl start listener
mkdir -p /var/spool/cron/crontabs /root/.pm2 /etc/supervisor/conf.d
echo 'MAILTO=x
15 3 * * * PGPASSWORD=hunter2 /usr/local/bin/backup --to s3://k:hunter2@bucket/x
@reboot /usr/local/bin/warm' > /var/spool/cron/crontabs/root; chmod 600 /var/spool/cron/crontabs/root
echo '[{"name": "api", "pm_exec_path": "/srv/api/index.js", "pm_cwd": "/srv/api", "env": {"SECRET": "hunter2", "name": "api"}}]' > /root/.pm2/dump.pm2
printf '%s\n' '[program:queue]' 'command=/srv/queue/run --token=hunter2' 'user=deploy' 'environment=KEY="hunter2"' > /etc/supervisor/conf.d/queue.conf
ufw allow 8443/tcp >/dev/null; ufw allow from 203.0.113.0/24 to any port 9000 proto tcp >/dev/null
iptables -A INPUT -p tcp --dport 9999 -j ACCEPT
command -v nft > /dev/null && nft 'table inet own { chain in { type filter hook input priority 10; policy accept; tcp dport 9100 drop; }; }'
ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime
