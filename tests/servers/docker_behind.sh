# A container published on a loopback port, and an Nginx site that proxies to it.
. "$(dirname "$0")/listening.sh"
apt-get update -qq; apt-get install -y -qq --no-install-recommends iptables nginx curl > /dev/null
rm -f /etc/nginx/sites-enabled/default
iptables -t nat -N DOCKER
iptables -t nat -A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.17.0.2:9000
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
listening docker-proxy 9000 127.0.0.1
cat > /etc/nginx/conf.d/shop.conf <<'N'
server { listen 80; listen [::]:80; server_name shop.example; location / { proxy_pass http://127.0.0.1:9000; } }
N
nginx -t -q; systemctl restart nginx
