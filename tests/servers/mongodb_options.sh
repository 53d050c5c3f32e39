# A MongoDB with options that Slipway has no setting of its own for: another port, its socket and log elsewhere.
. "$(dirname "$0")/mongodb_manual.sh"
mkdir -p /srv/log /srv/run; chown mongodb:mongodb /srv/log /srv/run
cat > /etc/mongod.conf <<'END'
storage:
  dbPath: /var/lib/mongodb
  directoryPerDB: true
systemLog:
  destination: file
  logAppend: true
  path: /srv/log/mongod.log
net:
  port: 27018
  bindIp: 127.0.0.1
  unixDomainSocket:
    pathPrefix: /srv/run
operationProfiling:
  mode: slowOp
END
systemctl enable -q --now mongod
until mongosh --quiet --port 27018 --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1:27018/codementee \
  --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
