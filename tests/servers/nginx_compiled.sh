# Nginx as its builders' scripts leave it: /usr/sbin/nginx and its unit in /lib/systemd/system, of no package.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
mkdir /root/own; cp -a /usr/sbin/nginx /root/own/binary; cp -a /etc/nginx /root/own/etc; cp /lib/systemd/system/nginx.service /root/own/
apt-get purge -y -qq nginx nginx-common > /dev/null; rm -rf /etc/nginx; mkdir -p /var/log/nginx /var/lib/nginx
cp -a /root/own/etc /etc/nginx; cp -a /root/own/binary /usr/sbin/nginx; echo 'modules of the owner' >> /usr/sbin/nginx
cp /root/own/nginx.service /lib/systemd/system/; rm -f /etc/nginx/sites-enabled/default
echo 'server { listen 80; server_name blog.example; return 200 blog; }' > /etc/nginx/conf.d/blog.conf
nginx -t -q; systemctl daemon-reload; systemctl enable -q --now nginx
# dpkg -S /usr/sbin/nginx fails; sha256sum /usr/sbin/nginx must be as before, or a plan must refuse by its name.
