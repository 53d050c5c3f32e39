# Ports that /etc/ufw/before.rules opens, which the adoption keeps and recommends, and rules of UFW's that are no loss.
. "$(dirname "$0")/listening.sh"
apt-get install -y -qq --no-install-recommends ufw > /dev/null
for rule in '-p tcp --dport 8443' '-s 10.0.0.5 -p tcp --dport 5432' '-i wg0'; do
  sed -i "s/^# allow all on loopback/-A ufw-before-input $rule -j ACCEPT\n&/" /etc/ufw/before.rules
done
sed -i 's/^# allow all on loopback/-A ufw6-before-input -i wg0 -j ACCEPT\n&/' /etc/ufw/before6.rules
grep -q 8443 /etc/ufw/before.rules; grep -q wg0 /etc/ufw/before6.rules
{
  ufw allow 22/tcp; ufw allow in on lo; ufw deny from 127.0.0.0/8
  ufw allow in on wg0; ufw allow from 10.0.0.5 to any port 5432 proto tcp
  ufw reject from 192.0.2.66 comment 'by Fail2Ban after 3 attempts against sshd'
  ufw --force enable
} > /dev/null
listening game 8443; listening postgres 5432; listening metrics 19999
