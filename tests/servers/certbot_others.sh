# Another ACME client beside certbot, a hook that stops Nginx, and options for all certificates.
mkdir -p /root/.acme.sh/${DOMAIN}_ecc /etc/letsencrypt/renewal-hooks/pre
touch /root/.acme.sh/${DOMAIN}_ecc/$DOMAIN.conf
echo 'systemctl stop nginx' > /etc/letsencrypt/renewal-hooks/pre/stop
echo 'authenticator = standalone' > /etc/letsencrypt/cli.ini
