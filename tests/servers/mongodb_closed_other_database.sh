# A MongoDB with access control, whose data are in another database than the site's. Try also with a wrong secret.
. "$(dirname "$0")/mongodb_manual.sh"
systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/shop_prod --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
mongosh --quiet mongodb://127.0.0.1/admin \
  --eval 'db.createUser({user: "admin", pwd: "a7f3-kept-0c6a5d9e", roles: ["root"]})' > /dev/null
printf 'security:\n  authorization: enabled\n' >> /etc/mongod.conf
systemctl restart mongod
