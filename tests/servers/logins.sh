# sshd has a second port, password logins, and AllowUsers without the administrator that Slipway creates.
useradd --create-home --shell /bin/bash deploy; echo 'deploy:correct horse battery' | chpasswd
mkdir -p /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/90-own.conf <<'END'
Port 22
Port 2222
PasswordAuthentication yes
AllowUsers lab root deploy
END
systemctl restart ssh
