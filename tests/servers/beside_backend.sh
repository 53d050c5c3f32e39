# A worker in the site's folder, and a program that calls the previous backend's port without Nginx.
mkdir -p /var/www/codementee/backend /var/www/codementee/frontend
unit() { printf '[Service]\n%s\n[Install]\nWantedBy=multi-user.target\n' "$2" > /etc/systemd/system/$1.service; }
unit queue "WorkingDirectory=/var/www/codementee/backend
ExecStart=/usr/bin/python3 -c 'import time; time.sleep(1e9)'"
unit bot "Environment=API=http://127.0.0.1:8001/api
ExecStart=/usr/bin/python3 -c 'import time; time.sleep(1e9)'"
unit codementee-backend "WorkingDirectory=/var/www/codementee/backend
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8001"
systemctl daemon-reload; systemctl enable -q --now queue bot codementee-backend
for try in $(seq 100); do ! ss -Hltn sport = :8001 | grep -q . || exit 0; sleep 0.1; done; exit 1
