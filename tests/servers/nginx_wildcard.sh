# A vhost for the site's name and its subdomains, a file that nothing includes, and a drop-in for Nginx's unit.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
rm /etc/nginx/sites-enabled/default
sed -i 's,sites-enabled/\*,sites-enabled/*.conf,' /etc/nginx/nginx.conf
echo "server { listen 80; server_name .$DOMAIN; root /var/www/html; }" > /etc/nginx/sites-enabled/app.conf
echo 'server { listen 80; server_name old.example; return 200 old; }' > /etc/nginx/sites-enabled/old.disabled
mkdir -p /etc/systemd/system/nginx.service.d
printf '[Service]\nExecStartPre=/bin/mkdir -p /run/nginx-cache\n' > /etc/systemd/system/nginx.service.d/own.conf
systemctl daemon-reload; nginx -t -q; systemctl restart nginx
