# Some may log in, by key or by password, from another port; the administrator that Slipway makes is not among them.
useradd --create-home --shell /bin/bash deploy; echo 'deploy:correct horse battery' | chpasswd
mkdir -p /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/90-own.conf <<'END'
Port 22
Port 2222
PasswordAuthentication yes
AllowUsers lab root deploy
END
systemctl restart ssh
