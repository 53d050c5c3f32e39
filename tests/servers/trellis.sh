# A Trellis server: sites below /srv/www with their own includes, Nginx configured by its template, a
# default server that closes connections, PHP and MariaDB on sockets, ferm as the firewall.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx curl > /dev/null
rm /etc/nginx/sites-enabled/default
mkdir -p /srv/www/blog.example/current/web /srv/www/blog.example/logs /etc/nginx/includes.d/blog.example /etc/nginx/h5bp
echo 'the blog' > /srv/www/blog.example/current/web/index.html
echo 'location = /robots.txt { access_log off; return 200 "User-agent: *\n"; }' > /etc/nginx/includes.d/blog.example/robots.conf
echo 'add_header X-Content-Type-Options nosniff always;' > /etc/nginx/h5bp/security.conf
cat > /etc/nginx/sites-available/blog.example.conf <<'N'
server {
  listen [::]:80; listen 80;
  server_name blog.example;
  access_log /srv/www/blog.example/logs/access.log;
  error_log /srv/www/blog.example/logs/error.log;
  root /srv/www/blog.example/current/web;
  index index.php index.html;
  include includes.d/blog.example/*.conf;
  include h5bp/security.conf;
  location ~ \.php$ { include fastcgi_params; fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name; fastcgi_pass unix:/var/run/php-fpm-wordpress.sock; }
}
N
echo 'server { listen [::]:80 default_server deferred; listen 80 default_server deferred; server_name _; return 444; }' \
  > /etc/nginx/sites-available/no-default.conf
for site in blog.example no-default; do ln -s /etc/nginx/sites-available/$site.conf /etc/nginx/sites-enabled/; done
nginx -t -q; systemctl restart nginx
