# A MEAN server: pm2 runs node in its own unit, Nginx proxies to it, MongoDB has no access control.
. "$(dirname "$0")/listening.sh"
. "$(dirname "$0")/mongodb_manual.sh"
apt-get install -y -qq --no-install-recommends nginx > /dev/null
systemctl enable -q --now mongod
until mongosh --quiet --eval 'db.hello()' > /dev/null 2>&1; do sleep 0.5; done
mongosh --quiet mongodb://127.0.0.1/meandb --eval 'db.posts.insertMany([{title: "a"}, {title: "b"}])' > /dev/null
useradd --create-home --shell /bin/bash ubuntu; mkdir -p /home/ubuntu/app /home/ubuntu/.ssh
cp /root/.ssh/authorized_keys /home/ubuntu/.ssh/; chown -R ubuntu: /home/ubuntu/.ssh
cp -L /usr/bin/python3 "/usr/local/bin/node"
echo 'import socket, time; s = socket.create_server(("", 3000)); m = socket.create_connection(("127.0.0.1", 27017))
while True: c, _ = s.accept(); c.recv(999); c.sendall(b"HTTP/1.0 200 OK\r\n\r\nmean"); c.close()' > /home/ubuntu/app/server.js
cat > /etc/systemd/system/pm2-ubuntu.service <<'N'
[Unit]
Description=PM2 process manager
[Service]
User=ubuntu
Environment=PM2_HOME=/home/ubuntu/.pm2
ExecStart=/usr/local/bin/node /home/ubuntu/app/server.js
[Install]
WantedBy=multi-user.target
N
systemctl daemon-reload; systemctl enable -q --now pm2-ubuntu
cat > /etc/nginx/sites-available/default <<N
server {
    listen 80 default_server;
    server_name $DOMAIN;
    location / { proxy_pass http://127.0.0.1:3000; proxy_set_header Host \$host; }
}
N
nginx -t -q; systemctl restart nginx
