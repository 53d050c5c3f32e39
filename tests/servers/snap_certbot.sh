# certbot from snap, as in its own instructions, with the site's certificate and another one by its Nginx plugin.
. "$(dirname "$0")/certbot_standalone.sh"
sed -i '/_hook/d; s/= standalone/= nginx\ninstaller = nginx/' /etc/letsencrypt/renewal/*.conf
apt-get remove -y -qq certbot > /dev/null
mkdir -p /snap/bin; printf '#!/bin/sh\n' > /snap/bin/certbot; chmod 755 /snap/bin/certbot
ln -sf /snap/bin/certbot /usr/bin/certbot
