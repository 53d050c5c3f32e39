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

host_key() {
    ssh-keygen -q -t rsa -b "$rsa_bits" -N '' -C '' -f "$rsa_key"
}

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
    # Before the administrator has a home.
    set_login_defs
    useradd --create-home --user-group --shell /bin/bash "$admin"
    install -d -m 700 -o "$admin" -g "$admin" "/home/$admin/.ssh"
    # Only now: they belong to users that the packages bring, and take the place of the packages' own.
    install -d -m 700 "/etc/$site/credentials"
    tar -xf files.tar -C /
    useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$unit"
    systemctl daemon-reload
    systemctl restart systemd-journald
    systemctl enable --now apt-daily.timer apt-daily-upgrade.timer certbot.timer slipway-integrity.timer
    # Armed by Slipway alone, before it changes what could lock the administrator out.
    systemctl enable slipway-undo.timer
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

ssh() {
    awk -v least="$least_modulus" '$1 ~ /^#/ || $5 >= least' /etc/ssh/moduli > moduli
    cat moduli > /etc/ssh/moduli
    wait "$key"
    sshd -t
    # This connection stays; root gets no other.
    systemctl restart ssh
}

backend() {
    read -r id <&3
    release=$root/releases/$id
    mkdir -p "$release" "$root/venvs"
    tar -xz --no-same-owner -C "$release" <&3
    requirements=$release/backend/requirements.txt
    venv=$root/venvs/$( (cat "$requirements"; python3 -V) | sha256sum | cut -c1-16)
    get_uv
    export UV_CACHE_DIR="$root/venvs/.uv" UV_SYSTEM_CERTS=1
    "$uv" venv --quiet --python /usr/bin/python3 "$venv"
    "$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --only-binary :all: -r "$requirements"
    rm -rf "$root/venvs/.uv"
    python3 -I -m compileall -qq -j 0 "$venv/lib" || true
    python3 -I -m compileall -q "$release/backend"
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
    # Only now there is the log that it reads.
    systemctl restart fail2ban
    get_certificate
    ln -sfn "/etc/letsencrypt/live/$site" "$tls/$site"
    systemctl reload nginx
}

# Prime numbers are looked for while apt downloads.
host_key & key=$!
packages
system
# The backend waits for downloads, the web server for the certificate: side by side.
backend & waiting=$!
firewall
ssh
web
timeout 60 sh -c '. ./settings.sh; until bans; do sleep 0.1; done'
wait "$waiting"
mark end
