# A MongoDB without access control, with another database than the site's, on a host without pgrep: openssh-server needs
# its package, dropbear does not.
. "$(dirname "$0")/mongodb_manual.sh"
systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/test_database --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
mv /usr/bin/pgrep /root/
