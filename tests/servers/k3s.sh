# K3s leads ports 80 and 443 to Traefik by rules alone: nothing listens on them.
apt-get update -qq; apt-get install -y -qq --no-install-recommends iptables > /dev/null
for chain in CNI-HOSTPORT-DNAT CNI-DN-2f3a; do iptables -t nat -N $chain; done
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
iptables -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment 'dnat name: "cbr0"' -m multiport --dports 80,443 \
  -j CNI-DN-2f3a
for port in 80 443; do
  iptables -t nat -A CNI-DN-2f3a -p tcp -m tcp --dport $port -j DNAT --to-destination 10.42.0.8:$port
done
