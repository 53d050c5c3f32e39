# What Slipway leaves alone or corrects: root's shell, the locale, etckeeper, sources as deb822, Nginx's user elsewhere,
# no updates, a firewall without IPv6 that limits ssh, a strict fail2ban, drop-ins of units.
. /etc/os-release
{
  echo "Types: deb"; echo "URIs: $(sed -n 's/^deb \(\[.*\] \)*\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n 1)"
  echo "Suites: $VERSION_CODENAME $VERSION_CODENAME-updates"; echo "Components: main"
  echo "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"
} > /etc/apt/sources.list.d/debian.sources
rm /etc/apt/sources.list
usermod --home /home/site --shell /bin/bash www-data
apt-get update -qq; apt-get install -y -qq --no-install-recommends fish etckeeper git ufw fail2ban nginx \
  python3-systemd locales unattended-upgrades > /dev/null
sed -i 's/^# *tr_TR.UTF-8/tr_TR.UTF-8/' /etc/locale.gen; locale-gen > /dev/null
echo 'LANG=tr_TR.UTF-8' | tee -a /etc/default/locale >> /etc/environment
chsh -s /usr/bin/fish root
printf 'APT::Periodic::%s "0";\n' Update-Package-Lists Unattended-Upgrade > /etc/apt/apt.conf.d/20auto-upgrades
systemctl disable -q --now unattended-upgrades apt-daily.timer apt-daily-upgrade.timer
sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw
{ ufw limit 22/tcp; ufw allow 80/tcp; ufw allow 443/tcp; ufw --force enable; } > /dev/null
printf '[DEFAULT]\nbantime = 1w\nfindtime = 1d\n[sshd]\nenabled = true\nmode = aggressive\nbackend = systemd\nmaxretry = 4\n' \
  > /etc/fail2ban/jail.local
for unit in nginx mongod; do
  mkdir -p /etc/systemd/system/$unit.service.d
  printf '[Service]\nLimitNOFILE=4096\nRestart=always\nRestartSec=5\n' > /etc/systemd/system/$unit.service.d/override.conf
done
# The lab's own attempts to reach a host that boots would count as failed logins.
systemctl stop fail2ban; rm -f /var/lib/fail2ban/fail2ban.sqlite3; journalctl -q --rotate; journalctl -q --vacuum-time=1s
systemctl daemon-reload; systemctl restart fail2ban nginx
