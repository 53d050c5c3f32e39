# The usual jail.local: the ban's time is said in [sshd], not in [DEFAULT].
apt-get update -qq; apt-get install -y -qq --no-install-recommends fail2ban python3-systemd > /dev/null
printf '[sshd]\nenabled = true\nbackend = systemd\nbantime = 1w\nfindtime = 1d\nmaxretry = 5\n' > /etc/fail2ban/jail.local
# The lab's own attempts to reach a host that boots would count as failed logins.
systemctl stop fail2ban; rm -f /var/lib/fail2ban/fail2ban.sqlite3; journalctl -q --rotate; journalctl -q --vacuum-time=1s
systemctl restart fail2ban
