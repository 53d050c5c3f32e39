# Nginx's vhosts are in a git checkout, to which its folder is a link; the owner's own default page is among them.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
mkdir -p /srv/config; mv /etc/nginx/sites-available /srv/config/vhosts; ln -s /srv/config/vhosts /etc/nginx/sites-available
rm /etc/nginx/sites-enabled/default /srv/config/vhosts/default
echo 'server { listen 80; server_name blog.example; return 200 blog; }' > /srv/config/vhosts/blog
echo '# notes of the owner' > /srv/config/vhosts/default
ln -s /etc/nginx/sites-available/blog /etc/nginx/sites-enabled/blog
nginx -t -q; systemctl restart nginx
# After `slipway plan` (or inspect) alone: sha256sum /srv/config/vhosts/* must be as before.
