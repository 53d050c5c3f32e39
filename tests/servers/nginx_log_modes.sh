# The owner has removed a full log; Nginx made it anew, readable by everybody.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
rm -f /var/log/nginx/*; systemctl restart nginx; chmod 644 /var/log/nginx/access.log
