# UFW with the rules that Slipway has, each with a comment, and units of Slipway's that are masked.
apt-get update -qq; apt-get install -y -qq --no-install-recommends ufw fail2ban > /dev/null
{ for port in 22 80 443; do ufw allow $port/tcp comment 'mine'; done; ufw --force enable; } > /dev/null
systemctl mask -q --now fail2ban; systemctl mask -q certbot.timer
