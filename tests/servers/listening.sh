# Sourced by other recipes: `listening NAME PORT` starts a unit with a program of this name that listens on a port.
apt-get update -qq; apt-get install -y -qq --no-install-recommends python3 > /dev/null
listening() {
  [ -e /usr/local/bin/$1 ] || cp -L /usr/bin/python3 /usr/local/bin/$1
  cat > /etc/systemd/system/$1-$2.service <<N
[Service]
WorkingDirectory=/srv
ExecStart=/usr/local/bin/$1 -m http.server --bind ${3:-0.0.0.0} $2
[Install]
WantedBy=multi-user.target
N
  systemctl daemon-reload; systemctl enable -q --now $1-$2
  for try in $(seq 100); do ! ss -Hltn sport = :$2 | grep -q . || return 0; sleep 0.1; done; return 1
}
