# A MongoDB with access control and the site's data.
. "$(dirname "$0")/mongodb_manual.sh"
systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/codementee --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
mongosh --quiet mongodb://127.0.0.1/admin \
  --eval 'db.createUser({user: "admin", pwd: "a7f3-kept-0c6a5d9e", roles: ["root"]})' > /dev/null
printf 'security:\n  authorization: enabled\n' >> /etc/mongod.conf
systemctl restart mongod
