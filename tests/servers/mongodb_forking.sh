# A MongoDB with access control that a unit of its own starts as a daemon.
. "$(dirname "$0")/mongodb_password.sh"
sed -i 's,^processManagement:,&\n  pidFilePath: /run/mongodb/mongod.pid,' /etc/mongod.conf
cat > /etc/systemd/system/mongod.service <<'END'
[Service]
User=mongodb
Group=mongodb
RuntimeDirectory=mongodb
Type=forking
PIDFile=/run/mongodb/mongod.pid
ExecStart=/usr/bin/mongod --config /etc/mongod.conf --fork
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl restart mongod
