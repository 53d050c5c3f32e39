# A minimal image without procps: nobody finds mongod's process by pgrep. No access control, another database.
. "$(dirname "$0")/mongodb_manual.sh"
systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/test_database --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
apt-get purge -y -qq procps > /dev/null
