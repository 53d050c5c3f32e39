# Apache serves on port 80.
apt-get update -qq; apt-get install -y -qq --no-install-recommends apache2 > /dev/null
systemctl enable -q --now apache2
