# A container's manager has mounted /etc/hosts read-only; the owner has made some files immutable.
mount --bind /etc/hosts /etc/hosts; mount -o remount,ro,bind /etc/hosts
chattr +i /etc/login.defs /etc/fstab
