# Another site is the default server, on port 80 and with its own certificate on 443. Its pages are
# in a home directory, its log in its own folder.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx openssl curl > /dev/null
rm /etc/nginx/sites-enabled/default
mkdir -p /home/blog/public /var/log/blog; echo 'the blog' > /home/blog/public/index.html; chmod 755 /home/blog
openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=blog.example -keyout /etc/ssl/private/blog.key \
  -out /etc/ssl/certs/blog.pem 2> /dev/null
cat > /etc/nginx/sites-available/blog <<'END'
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    listen 443 ssl default_server;
    server_name blog.example;
    ssl_certificate /etc/ssl/certs/blog.pem;
    ssl_certificate_key /etc/ssl/private/blog.key;
    access_log /var/log/blog/access.log;
    root /home/blog/public;
}
END
ln -s /etc/nginx/sites-available/blog /etc/nginx/sites-enabled/blog
nginx -t -q; systemctl restart nginx
