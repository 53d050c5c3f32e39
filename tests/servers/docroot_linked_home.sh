# Another site's uploads are in a home, to which a link leads from below /srv (or /var/www/html -> /home/deploy/site).
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx curl > /dev/null
rm /etc/nginx/sites-enabled/default; mkdir -p /var/www/blog /home/deploy/media; chmod 755 /home/deploy
echo 'the blog' > /var/www/blog/index.html; echo picture > /home/deploy/media/1.txt; ln -s /home/deploy/media /srv/media
cat > /etc/nginx/conf.d/blog.conf <<'N'
server { listen 80; server_name blog.example; root /var/www/blog; location /media/ { alias /srv/media/; } }
N
nginx -t -q; systemctl restart nginx
# Before and after: curl -s --resolve blog.example:80:127.0.0.1 http://blog.example/media/1.txt
