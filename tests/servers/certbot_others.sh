# Clients of ACME beside certbot, hooks that stop Nginx for all, and options for all certificates.
mkdir -p /root/.acme.sh/${DOMAIN}_ecc /etc/letsencrypt/renewal-hooks/pre
echo 'systemctl stop nginx' > /etc/letsencrypt/renewal-hooks/pre/stop
echo 'authenticator = standalone' > /etc/letsencrypt/cli.ini
