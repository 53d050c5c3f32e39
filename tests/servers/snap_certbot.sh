# certbot from snap, as in its own instructions, with the site's certificate and another one by its Nginx plugin; and a
# job that renews, backups of the site, and a journal of 600 MB.
. "$(dirname "$0")/certbot_standalone.sh"
sed -i '/_hook/d; s/= standalone/= nginx\ninstaller = nginx/' /etc/letsencrypt/renewal/*.conf
apt-get remove -y -qq certbot > /dev/null
mkdir -p /snap/bin; printf '#!/bin/sh\n' > /snap/bin/certbot; chmod 755 /snap/bin/certbot
ln -sf /snap/bin/certbot /usr/bin/certbot
ln -sf /snap/bin/certbot /usr/local/bin/certbot
mkdir -p /etc/cron.d
echo '0 12 * * * root certbot renew --quiet' > /etc/cron.d/renew
echo '0 1 * * * root tar czf /srv/site.tgz /var/www/codementee' > /etc/cron.d/backup
journal=/var/log/journal/$(cat /etc/machine-id); mkdir -p $journal; fallocate -l 600M $journal/old
