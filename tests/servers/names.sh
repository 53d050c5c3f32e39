# Names that Slipway uses are taken: by a person's account, a group, and another tool's releases.
useradd --create-home --shell /bin/bash codementee-backend
groupadd --gid 4999 backup-operators; usermod --gid backup-operators codementee-backend
mkdir -p /var/www/codementee/releases/1 /var/www/codementee/shared
ln -s /var/www/codementee/releases/1 /var/www/codementee/current
