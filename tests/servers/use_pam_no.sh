# sshd without PAM, as hardening guides had it: it refuses accounts whose password is locked ("!"), by key too.
for user in root lab; do ! id $user > /dev/null 2>&1 || usermod -p '*' $user; done
mkdir -p /etc/ssh/sshd_config.d; echo 'UsePAM no' > /etc/ssh/sshd_config.d/90-own.conf; sshd -t; systemctl restart ssh
