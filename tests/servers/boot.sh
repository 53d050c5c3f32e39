# What only the next boot or the next login shows: nftables' file is loaded, and sudo and PAM ask the administrator
# for passwords. sshd takes one session of a connection.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nftables sudo > /dev/null
systemctl enable -q nftables
useradd --create-home --shell /bin/bash --groups sudo admin; chage -d 0 admin
echo '%sudo ALL=(ALL:ALL) ALL' > /etc/sudoers.d/zz-own
mkdir -p /etc/ssh/sshd_config.d; echo 'MaxSessions 1' > /etc/ssh/sshd_config.d/90-own.conf; systemctl restart ssh
