# A jail for an application, with the times and the action that [DEFAULT] in jail.local has for all, and a host name and
# an address that are spared by lines of their own.
apt-get update -qq; apt-get install -y -qq --no-install-recommends fail2ban python3-systemd > /dev/null
printf '[Definition]\nfailregex = ^<HOST> failed$\n' > /etc/fail2ban/filter.d/shop.conf; touch /var/log/shop.log
cat > /etc/fail2ban/jail.local <<'END'
[DEFAULT]
bantime = 1w
findtime = 1d
banaction = ufw
ignoreip = 127.0.0.1/8 ::1
    203.0.113.10
    # the office
    office.example.org
[sshd]
backend = systemd
[shop]
enabled = true
logpath = /var/log/shop.log
END
# The lab's own attempts to reach a host that boots would count as failed logins.
systemctl stop fail2ban; rm -f /var/lib/fail2ban/fail2ban.sqlite3; journalctl -q --rotate; journalctl -q --vacuum-time=1s
systemctl restart fail2ban
