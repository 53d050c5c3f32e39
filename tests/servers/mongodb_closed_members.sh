# A replica set of two members with a key file and passwords: hello tells its members to everybody.
. "$(dirname "$0")/mongodb_manual.sh"
head -c 512 /dev/urandom | base64 -w 0 > /srv/mongo.key; mkdir -p /srv/second; chmod 400 /srv/mongo.key; chown -R mongodb: /srv/mongo.key /srv/second
printf 'security:\n  keyFile: /srv/mongo.key\nreplication:\n  replSetName: rs0\n' >> /etc/mongod.conf
printf '[Service]\nUser=mongodb\nExecStart=/usr/bin/mongod --port 27018 --dbpath /srv/second --replSet rs0 --keyFile /srv/mongo.key\n[Install]\nWantedBy=multi-user.target\n' > /etc/systemd/system/second.service
systemctl daemon-reload; systemctl enable -q --now mongod second
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet --eval 'rs.initiate({_id: "rs0", members: [{_id: 0, host: "127.0.0.1:27017", priority: 2}, {_id: 1, host: "127.0.0.1:27018"}]})' > /dev/null
until mongosh --quiet --eval 'if (!db.hello().isWritablePrimary) quit(1)' > /dev/null; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/admin --eval 'db.createUser({user: "admin", pwd: "a7f3-kept-0c6a5d9e", roles: ["root"]})' > /dev/null
