# mongod listens on the private address alone, without access control; the data are in another database than the site's.
# With --data mongodb_bind=ADDRESS, as the plan wants, nothing more is refused.
. "$(dirname "$0")/mongodb_manual.sh"
address=$(ip -4 -o addr show scope global | awk '{split($4, a, "/"); print a[1]; exit}')
sed -i "s/bindIp:.*/bindIp: $address/" /etc/mongod.conf; systemctl enable -q --now mongod
until mongosh --quiet "mongodb://$address" --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet "mongodb://$address/test_database" --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
