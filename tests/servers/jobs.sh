# Cron jobs and a timer that Slipway's changes would break, or that do the same as Slipway.
mkdir -p /etc/cron.d
echo '0 3 * * * root certbot renew --quiet --pre-hook "systemctl stop nginx"' > /etc/cron.d/renew
echo '* * * * * root cd /var/www/codementee/backend && git pull -q' > /etc/cron.d/pull
cat > /etc/systemd/system/firewall.service <<'END'
[Service]
Type=oneshot
ExecStart=/usr/sbin/iptables-restore /etc/iptables.rules
END
# certbot's own service, changed by its owner.
mkdir -p /etc/systemd/system/certbot.service.d
printf '[Service]\nExecStart=\nExecStart=/usr/bin/certbot -q renew --pre-hook "systemctl stop nginx"\n' \
  > /etc/systemd/system/certbot.service.d/override.conf
