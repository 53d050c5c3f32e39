# Nginx runs with what it has read; its files have a mistake since.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
echo 'nonsense on;' > /etc/nginx/conf.d/own.conf
