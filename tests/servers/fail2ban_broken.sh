# A jail whose log does not exist, as without rsyslog: fail2ban has not started for months, and nobody has noticed.
apt-get update -qq; apt-get install -y -qq --no-install-recommends fail2ban python3-systemd > /dev/null
printf '[sshd]\nbackend = systemd\n[postfix]\nenabled = true\nbackend = polling\nlogpath = /var/log/mail.log\n' > /etc/fail2ban/jail.local
systemctl restart fail2ban || :
