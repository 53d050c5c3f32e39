# Another site's program on the loopback port 8001.
. "$(dirname "$0")/listening.sh"
apt-get install -y -qq --no-install-recommends nginx curl > /dev/null; rm -f /etc/nginx/sites-enabled/default
listening blog 8001 127.0.0.1
echo 'server { listen 80; server_name blog.example; location / { proxy_pass http://127.0.0.1:8001; } }' > /etc/nginx/conf.d/blog.conf
nginx -t -q; systemctl restart nginx
