# The site's backend in a unit of its own name: in the site's folder, public, connected to nothing, not enabled. Nginx
# leads to it by the server's own address, too, and to another host.
. "$(dirname "$0")/listening.sh"
apt-get install -y -qq --no-install-recommends nginx curl > /dev/null; rm -f /etc/nginx/sites-enabled/default
mkdir -p /var/www/codementee/backend/api; echo up > /var/www/codementee/backend/api/index.html
printf '[Service]\nWorkingDirectory=/var/www/codementee/backend\nExecStart=/usr/bin/python3 -m http.server 8000\n' \
  > /etc/systemd/system/fastapi.service
mkdir -p /etc/systemd/system/fastapi.service.d
printf '[Service]\nRestart=always\n[Install]\nWantedBy=multi-user.target\n' \
  > /etc/systemd/system/fastapi.service.d/own.conf
systemctl daemon-reload; systemctl start fastapi
own=$(ip -4 -o addr show scope global | awk '{sub("/.*", "", $4); print $4; exit}')
cat > /etc/nginx/conf.d/site.conf <<N2
upstream api { server 127.0.0.1:8000; server $own:8000; server 10.99.0.5:8000 backup; }
server { listen 80; server_name $DOMAIN; location /api/ { proxy_pass http://api; } }
N2
nginx -t -q; systemctl restart nginx
