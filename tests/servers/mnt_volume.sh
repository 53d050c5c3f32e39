# A provider's volume below /mnt (DigitalOcean's place) has another site's certificate and log.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx openssl > /dev/null
at=/mnt/volume_fra1_01; mkdir -p $at/log; rm -f /etc/nginx/sites-enabled/default
openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=blog.example -keyout $at/blog.key -out $at/blog.pem 2> /dev/null
echo "server { listen 80; listen 443 ssl; server_name blog.example; ssl_certificate $at/blog.pem; ssl_certificate_key $at/blog.key; access_log $at/log/blog.log; return 200 blog; }" \
  > /etc/nginx/conf.d/blog.conf
nginx -t -q; systemctl restart nginx
