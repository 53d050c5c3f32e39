# The mail server uses the site's certificate, by a link, a compose file and a hook of certbot's.
. "$(dirname "$0")/certbot_standalone.sh"
cd /etc/letsencrypt; rm -r */other.example*
sed -i 's,^post_hook.*,renew_hook = /usr/local/bin/copy-to-mail,; /^pre_hook/d' renewal/$DOMAIN.conf
ln -s /etc/letsencrypt/live/$DOMAIN/fullchain.pem /etc/mail.pem
mkdir -p /opt/mail; echo "  - /etc/letsencrypt/live/$DOMAIN:/certs:ro" > /opt/mail/compose.yml
# Nginx's own lines, of a file that nobody includes.
mkdir -p /home/dev; echo "ssl_certificate /etc/letsencrypt/live/$DOMAIN/fullchain.pem;" > /home/dev/nginx.conf
