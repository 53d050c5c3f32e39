# A port that /etc/ufw/before.rules opens, which the adoption keeps and recommends.
. "$(dirname "$0")/listening.sh"
apt-get install -y -qq --no-install-recommends ufw > /dev/null
sed -i 's/^# allow all on loopback/-A ufw-before-input -p tcp --dport 8443 -j ACCEPT\n&/' /etc/ufw/before.rules
grep -q 8443 /etc/ufw/before.rules
{ ufw allow 22/tcp; ufw --force enable; } > /dev/null; listening game 8443
