# certbot stops Nginx to renew its certificates: one for the site, one for another name.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx certbot openssl > /dev/null
for name in $DOMAIN other.example; do
  folder=/etc/letsencrypt/archive/$name; live=/etc/letsencrypt/live/$name; mkdir -p $folder $live /etc/letsencrypt/renewal
  openssl req -x509 -newkey rsa:2048 -nodes -days 60 -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
    -keyout $folder/privkey1.pem -out $folder/cert1.pem 2> /dev/null
  cp $folder/cert1.pem $folder/chain1.pem; cat $folder/cert1.pem $folder/chain1.pem > $folder/fullchain1.pem
  for part in cert chain fullchain privkey; do ln -sf ../../archive/$name/${part}1.pem $live/$part.pem; done
  cat > /etc/letsencrypt/renewal/$name.conf <<END
version = 2.1.0
archive_dir = $folder
cert = $live/cert.pem
privkey = $live/privkey.pem
chain = $live/chain.pem
fullchain = $live/fullchain.pem

[renewalparams]
account = 0123456789abcdef0123456789abcdef
pre_hook = systemctl stop nginx
post_hook = systemctl start nginx
authenticator = standalone
server = https://acme-v02.api.letsencrypt.org/directory
key_type = rsa
END
done
