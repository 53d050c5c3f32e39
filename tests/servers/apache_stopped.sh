# Apache was stopped for Nginx, but is still enabled at boot.
apt-get update -qq; apt-get install -y -qq --no-install-recommends apache2 nginx > /dev/null
systemctl stop apache2; systemctl restart nginx
