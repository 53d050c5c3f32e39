# A package on hold that is not installed, one that a pin refuses, and a file system without programs for the site.
apt-mark hold nginx > /dev/null
printf 'Package: fail2ban\nPin: release *\nPin-Priority: -1\n' > /etc/apt/preferences.d/own
mkdir -p /var/www; mount -t tmpfs -o noexec tmpfs /var/www
