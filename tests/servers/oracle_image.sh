# As on Oracle's images: a package loads iptables' rules at boot, and the last one rejects what UFW would allow.
apt-get update -qq; apt-get install -y -qq --no-install-recommends iptables-persistent > /dev/null
iptables -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited
netfilter-persistent save
