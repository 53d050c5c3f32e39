# A user of SFTP has a password and no shell. sshd has a second port, password logins, and AllowUsers without the administrator that Slipway creates.
useradd --create-home --shell /bin/bash deploy; echo 'deploy:correct horse battery' | chpasswd
useradd --create-home --shell /usr/sbin/nologin uploads; echo 'uploads:correct horse battery' | chpasswd
useradd --create-home --shell /usr/sbin/nologin mail1; echo 'mail1:correct horse battery' | chpasswd
mkdir -p /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/90-own.conf <<'END'
Port 22
Port 2222
PasswordAuthentication yes
AllowUsers lab root deploy uploads
Match User uploads
  ChrootDirectory %h
  ForceCommand internal-sftp
END
systemctl restart ssh
# A backup server has logged in as root with a key of its own, a colleague's key is unused, and a login keeps a port open.
mkdir -p -m 700 /root/.ssh; cd /root/.ssh
for name in backup colleague; do ssh-keygen -q -t ed25519 -N '' -C $name -f /root/$name; cat /root/$name.pub; done >> authorized_keys
print=$(ssh-keygen -lf /root/backup.pub | cut -d' ' -f2)
logger -t sshd "Accepted publickey for root from 192.0.2.7 port 50000 ssh2: ED25519 $print"
listen="import socket, time; listening = socket.create_server(('127.0.0.1', 9022)); time.sleep(1e9)"
systemd-run -q bash -c 'exec -a "sshd: deploy@notty" python3 -c "$1"' - "$listen"
for try in $(seq 100); do ! ss -Hltn sport = :9022 | grep -q . || exit 0; sleep 0.1; done; exit 1
