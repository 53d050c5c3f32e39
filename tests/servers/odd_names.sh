# A data folder that is a link, half of the site in its folder, files that are immutable, certificates by DNS, and
# Nginx's stream block and names that Slipway has too.
. "$(dirname "$0")/mongodb_manual.sh"
mkdir -p /data/db; rm -r /var/lib/mongodb; ln -s /data/db /var/lib/mongodb; chown mongodb: /data/db
apt-mark hold mongodb-org-server > /dev/null; systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/codementee --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
. "$(dirname "$0")/certbot_standalone.sh"
apt-get install -y -qq --no-install-recommends python3-certbot-dns-cloudflare libnginx-mod-stream > /dev/null
cd /etc/letsencrypt; sed -i '/_hook/d; s/= standalone/= dns-cloudflare/' renewal/*.conf
for folder in archive live renewal; do for at in $folder/$DOMAIN*; do mv $at ${at/$DOMAIN/$DOMAIN-0001}; done; done
for part in cert chain fullchain privkey; do
  ln -sfn ../../archive/$DOMAIN-0001/${part}1.pem live/$DOMAIN-0001/$part.pem
done
sed -i "s,/$DOMAIN,/$DOMAIN-0001,g" renewal/$DOMAIN-0001.conf
mkdir -p /var/www/codementee/frontend; echo 'open_basedir=/' > /var/www/codementee/frontend/.user.ini
rm /etc/nginx/sites-enabled/default; echo 'the blog' > /var/www/html/index.html; echo x > /etc/nginx/dhparam.pem
cat > /etc/nginx/conf.d/own.conf <<'N'
limit_req_zone $binary_remote_addr zone=login:10m rate=10r/s;
upstream backend { server 127.0.0.1:9000; }
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server { listen 80; server_name blog.example; location / { limit_req zone=login burst=100; root /var/www/html; } }
N
echo 'stream { upstream backend { server 127.0.0.1:5432; } server { listen 127.0.0.1:15432; proxy_pass backend; } }' \
  > /etc/nginx/modules-enabled/99-stream.conf
chattr +i /etc/nginx/dhparam.pem /etc/nginx/conf.d/own.conf /var/www/codementee/frontend/.user.ini
nginx -t -q; systemctl restart nginx
