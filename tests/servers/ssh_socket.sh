# sshd is started by its socket.
systemctl disable -q ssh.service; systemctl stop ssh.service; systemctl enable -q --now ssh.socket
