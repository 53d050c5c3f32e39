# What an owner adds after the adoption: a block of the site beside another site's in one file, and a second site with
# a folder and a unit of its own.
mkdir -p /srv/later /var/www/shop/backend /var/www/shop/frontend; echo 'the blog' > /srv/later/index.html
cat > /etc/nginx/conf.d/extra.conf <<END
server { listen 80; server_name blog.example; root /srv/later; }
server { listen 8443; server_name $DOMAIN; root /srv/later; }
END
nginx -t -q; systemctl reload nginx
echo page > /var/www/shop/frontend/index.html
cat > /etc/systemd/system/shop-backend.service <<'END'
[Service]
Environment=STRIPE_KEY=sk_secret
WorkingDirectory=/var/www/shop/backend
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8002
END
systemctl daemon-reload
