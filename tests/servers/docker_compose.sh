# Docker has published a container's web server and MongoDB to everybody: NAT rules, and a proxy on each port for
# local clients. As a daemon would leave them, without one.
. "$(dirname "$0")/listening.sh"
apt-get update -qq; apt-get install -y -qq --no-install-recommends iptables > /dev/null
for port in 80 27017; do
  iptables -t nat -N DOCKER 2> /dev/null || :
  iptables -t nat -A DOCKER ! -i br-5f3c1a2b4d5e -p tcp -m tcp --dport $port -j DNAT --to-destination 172.18.0.2:$port
  listening docker-proxy $port
done
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER
