# The site's own vhost does more than Slipway's would; nginx.conf is changed and includes vhosts from another folder.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx libnginx-mod-stream > /dev/null
mkdir -p /etc/nginx/vhosts
cat > /etc/nginx/sites-enabled/default <<END
server {
    listen 80;
    server_name $DOMAIN shop.example;
    client_max_body_size 200m;
    location / { proxy_pass http://127.0.0.1:3000; }
    location /blog/ { proxy_pass http://127.0.0.1:2368; }
    location /admin/ { auth_basic "Closed"; auth_basic_user_file /etc/nginx/users; }
    location /api/ { allow 203.0.113.5; deny all; proxy_pass http://127.0.0.1:8001/; proxy_set_header X-Api-Key x; }
    if (\$http_x_origin_secret != "abc") { return 403; }
}
END
sed -i 's,^http {,http {\n\tlog_format short "$uri";\n\tinclude /etc/nginx/vhosts/*;\n\tcharset koi8-r;,' \
  /etc/nginx/nginx.conf
echo 'server { listen 80; server_name blog.example; return 200 blog; }' > /etc/nginx/vhosts/blog
echo 'stream { server { listen 443; proxy_pass 127.0.0.1:22; } }' > /etc/nginx/modules-enabled/99-stream.conf
nginx -t -q; systemctl restart nginx
