# The rules of a provider's image, loaded at boot: everything but SSH is rejected before UFW's rules.
apt-get update -qq; apt-get install -y -qq --no-install-recommends iptables > /dev/null
iptables -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
iptables -A INPUT -p icmp -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited
