# sshd gets a second port, and passwords, by its command line: `sshd -T` tells of neither.
echo 'SSHD_OPTS="-p 22 -p 2222 -o PasswordAuthentication=yes"' > /etc/default/ssh
systemctl restart ssh
for try in $(seq 50); do ! ss -Hltn sport = :2222 | grep -q . || exit 0; sleep 0.1; done; exit 1
