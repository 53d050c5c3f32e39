# A certificate authority has signed a host key, as Vault and smallstep do, and clients know that authority alone.
[ -s /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
ssh-keygen -q -t ed25519 -N '' -f /root/authority
ssh-keygen -q -s /root/authority -I lab -h -n localhost /etc/ssh/ssh_host_ed25519_key.pub
echo "@cert-authority * $(cat /root/authority.pub)" > /root/trusted
mkdir -p /etc/ssh/sshd_config.d
echo 'HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub' > /etc/ssh/sshd_config.d/90-own.conf
systemctl restart ssh
