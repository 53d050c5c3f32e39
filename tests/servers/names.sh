# The names that Slipway takes belong to others: a person's account, a group, and releases of another tool's.
useradd --create-home --shell /bin/bash codementee-backend
groupadd --gid 4999 backup-operators; usermod --gid backup-operators codementee-backend
mkdir -p /var/www/codementee/releases/1 /var/www/codementee/shared
ln -s /var/www/codementee/releases/1 /var/www/codementee/current
