# A MongoDB without access control, a connected program of another site, and a nightly dump.
. "$(dirname "$0")/mongodb_manual.sh"
systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/codementee --eval 'db.orders.insertMany([{name: "a"}, {name: "b"}])' > /dev/null
cat > /etc/systemd/system/blog.service <<'END'
[Service]
ExecStart=/bin/bash -c 'exec 3<>/dev/tcp/127.0.0.1/27017; exec sleep infinity'
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl enable -q --now blog
mkdir -p /etc/cron.d; echo '0 1 * * * root mongodump --quiet --out /srv/backup' > /etc/cron.d/backup
