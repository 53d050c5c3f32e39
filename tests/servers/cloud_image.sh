# Traits of providers' and hardened images: names in /etc/hosts, an update that holds apt's lock on a new server,
# a noexec /tmp, umask 077 for root, processes hidden from other users.
printf '127.0.1.1 %s %s\n' "$DOMAIN" "${DOMAIN%%.*}" >> /etc/hosts
mkdir -p /etc/cloud/cloud.cfg.d; echo 'manage_etc_hosts: true' > /etc/cloud/cloud.cfg.d/99-hosts.cfg
printf 'umask 077\nalias ls="ls --color"\n' | tee -a /etc/profile >> /root/.bashrc
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
mount -t tmpfs -o noexec,nosuid,nodev tmpfs /tmp
mount -o remount,hidepid=2 /proc 2> /dev/null || :
apt-get update -qq; apt-get install -y -qq --no-install-recommends python3 > /dev/null
systemd-run -q --collect --unit=apt-daily-upgrade-like python3 -c 'import fcntl, time
lock = open("/var/lib/dpkg/lock-frontend", "w"); fcntl.lockf(lock, fcntl.LOCK_EX); time.sleep(20)'
