# The site is served by http alone, without a certificate. Another site is the first one in Nginx's configuration, and so
# answers all other names.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx curl > /dev/null
rm -f /etc/nginx/sites-enabled/default
build=/var/www/codementee/frontend/build; mkdir -p $build
echo '<!doctype html><title>by hand</title>' > $build/index.html
echo "server { listen 80; server_name $DOMAIN; root $build; location / { try_files \$uri /index.html; } }" \
  > /etc/nginx/sites-available/codementee
echo 'server { listen 80; server_name blog.example; return 200 "the blog"; }' > /etc/nginx/sites-available/blog
ln -s /etc/nginx/sites-available/codementee /etc/nginx/sites-available/blog /etc/nginx/sites-enabled/
nginx -t -q; systemctl restart nginx
