#!/bin/sh
# A bare Debian 12 host becomes the site, by hand: the least that any tool can take.
#
# usage: provision.sh FOLDER, as root. FOLDER has settings.sh, files.tar, set-users and set-users.input. Standard input
# is the release, its id on a line and then its tar.gz; it may come while apt is at work.
set -eu
umask 022
exec 3<&0 </dev/null
cd "$1"
. ./settings.sh

mark() { echo "mark $1 $(date +%s.%N)"; }

packages() {
    export DEBIAN_FRONTEND=noninteractive
    # MongoDB's key, source and pin come first, so that apt runs once for everything; and what keeps Nginx from starting
    # before it is configured.
    tar -xf files.tar -C / etc/apt usr/share/keyrings etc/systemd/system/nginx.service.d
    mark update
    apt-get update -q -o APT::Update::Error-Mode=any
    mark install
    # shellcheck disable=SC2086  # a list of words
    apt-get install -y -q --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold $packages
    mark rest
}

system() {
    # Only now: they belong to users that the packages bring, and take the place of the packages' own.
    install -d -m 700 "/etc/${unit%-backend}/credentials"
    tar -xf files.tar -C /
    useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$unit"
    systemctl daemon-reload
    systemctl restart systemd-journald
    install -d -m 750 -o mongodb -g mongodb /var/lib/mongodb
    systemctl enable --now mongod
    sh -eu ./set-users < ./set-users.input
}

firewall() {
    for port in $ports; do ufw allow "$port"; done
    ufw default deny incoming
    ufw default allow outgoing
    ufw --force enable
}

backend() {
    read -r id <&3
    release=$root/releases/$id
    mkdir -p "$release" "$root/venvs"
    tar -xz --no-same-owner -C "$release" <&3
    requirements=$release/backend/requirements.txt
    venv=$root/venvs/$( (cat "$requirements"; python3 -V) | sha256sum | cut -c1-16)
    python3 -m venv --without-pip "$venv"
    # Debian's own pip from its wheel: one in the environment takes seconds to put there.
    PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl) PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install \
        --quiet --no-cache-dir --require-hashes --only-binary :all: -r "$requirements"
    "$venv/bin/python" -m compileall -q "$release/backend"
    sync -f "$release"
    touch "$venv/.complete"
    ln -s "$venv" "$release/backend/.venv"
    ln -s "releases/$id" "$root/current"
    systemctl enable --now "$unit.socket" "$unit.service"
    timeout 60 sh -c '. ./settings.sh; until healthy; do sleep 0.1; done'
}

web() {
    install -d "$webroot"
    install -d -m 700 "$tls/placeholder"
    (
        umask 077
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=placeholder \
            -keyout "$tls/placeholder/privkey.pem" -out "$tls/placeholder/fullchain.pem"
    )
    ln -s placeholder "$tls/$site"
    nginx -t -q
    systemctl restart nginx
    get_certificate
    ln -sfn "/etc/letsencrypt/live/$site" "$tls/$site"
    systemctl reload nginx
}

packages
system
# The backend waits for downloads, the web server for the certificate: side by side.
backend & waiting=$!
firewall
web
wait "$waiting"
mark end
