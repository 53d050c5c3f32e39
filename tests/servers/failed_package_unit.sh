# A package's unit fails each night for a reason of the owner's: a broken file of logrotate's.
apt-get update -qq; apt-get install -y -qq --no-install-recommends logrotate > /dev/null
mkdir -p /srv/shop; echo x > /srv/shop/app.log
for name in one two; do printf '/srv/shop/*.log {\n  daily\n}\n' > /etc/logrotate.d/shop-$name; done
systemctl start logrotate.service || :; systemctl is-failed -q logrotate.service
