# MongoDB's packages, with the data on a separate disk, as a replica set of one member. The database has the name
# from the application's template.
. "$(dirname "$0")/mongodb_manual.sh"
mkdir -p /data/mongodb; chown mongodb:mongodb /data/mongodb
cat > /etc/mongod.conf <<'END'
storage:
  dbPath: /data/mongodb
systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log
net:
  port: 27017
  bindIp: 127.0.0.1
replication:
  replSetName: orders
END
systemctl enable -q --now mongod
run() { mongosh --quiet --eval "$1" > /dev/null; }
until run 'db.hello()'; do sleep 0.5; done
run 'rs.initiate({_id: "orders", members: [{_id: 0, host: "127.0.0.1:27017"}]})'
until run 'if (!db.hello().isWritablePrimary) quit(1)'; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/test_database --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
