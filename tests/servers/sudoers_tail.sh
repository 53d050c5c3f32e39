# The administrator's rule is the last line of /etc/sudoers, after its includedir. (Or no includedir at all:
# sed -i '/includedir/d' /etc/sudoers.) Slipway logs in as root.
apt-get update -qq; apt-get install -y -qq --no-install-recommends sudo > /dev/null
useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL:ALL) ALL' >> /etc/sudoers; visudo -q -c
