# Two accounts at the site's ACME server, as after a move. ACME_URL: the setting tls_acme_server, as a directory's URL.
apt-get update -qq; apt-get install -y -qq --no-install-recommends certbot > /dev/null
for name in a b; do
  certbot register -n -q --agree-tos --register-unsafely-without-email --server "$ACME_URL"
  mv /etc/letsencrypt/accounts /root/accounts-$name
done
mkdir -p -m 700 /etc/letsencrypt/accounts; cp -a /root/accounts-a/. /root/accounts-b/. /etc/letsencrypt/accounts/
