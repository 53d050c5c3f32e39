# The site's backend has its unit in /lib/systemd/system, as many instructions have it. Ask /api/ all the time meanwhile.
. "$(dirname "$0")/listening.sh"
apt-get install -y -qq --no-install-recommends nginx > /dev/null; rm -f /etc/nginx/sites-enabled/default
listening codementee 8001 127.0.0.1; systemctl disable -q --now codementee-8001
mv /etc/systemd/system/codementee-8001.service /lib/systemd/system/codementee-backend.service; mkdir -p /srv/api; echo '{}' > /srv/api/index.html
systemctl daemon-reload; systemctl enable -q --now codementee-backend
echo "server { listen 80; server_name $DOMAIN; root /var/www/html; location /api/ { proxy_pass http://127.0.0.1:8001; } }" \
  > /etc/nginx/conf.d/site.conf
nginx -t -q; systemctl restart nginx
