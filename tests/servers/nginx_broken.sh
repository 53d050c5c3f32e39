# Nginx runs with its old configuration; its files now have a mistake.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
echo 'nonsense on;' > /etc/nginx/conf.d/own.conf
