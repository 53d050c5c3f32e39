"""What is refused of each server as found (tests/servers)."""

from __future__ import annotations

# What is refused, by the start of each line; those of the first group need no packages and are
# made on one server.
REFUSED = {
    "names": ["user codementee-backend: found a user with a login", "/var/www/codementee: found releases of another"],
    "logins": [
        "sshd: port 2222: found",
        "sshd: AllowUsers: found lab root deploy uploads, without admin",
        *("user deploy: found", "user uploads: found"),
        "user root: key backup: found logins with it in the last weeks",
        "sshd: AllowTcpForwarding: found port 9022 held by a reverse tunnel",
    ],
    "public_service": [
        'port 3000: found python3 listening publicly, which the firewall would block, need "3000/tcp"',
        'port 9090: found panel.socket listening publicly, which the firewall would block, need "9090/tcp"',
        "protocol vrrp: found python3 receiving IP protocol 112, which the firewall would block",
        'port 34197/udp: found factorio listening publicly, which the firewall would block, need "34197/udp"',
    ],
    "mongodb_percona": ["mongod: found /usr/bin/mongod of the package percona-server-mongodb-server, need mongodb-org"],
    "jobs": [
        *("/etc/cron.d/renew: ", "/etc/cron.d/pull: ", "/etc/systemd/system/firewall.service: "),
        "/etc/systemd/system/certbot.service.d/override.conf: ExecStart=/usr/bin/certbot -q renew",
    ],
    "old_backend": [
        *("codementee-backend.service: DB_NAME: found", "codementee-backend.service: RAZORPAY_KEY: found"),
        *("codementee-backend.service: SENDGRID_API_KEY: found", "codementee-backend.service: ExecStart: found"),
        "/etc/systemd/system/codementee-backend.service.d/override.conf: found a drop-in",
        "/var/www/codementee/backend/uploads/1.pdf: found a file that the backend seems to write",
    ],
    "apt_broken": ["apt: found sources that it can't read, need them to install packages: Conflicting values set for"],
    "certbot_others": [
        *(
            "/root/.acme.sh/",
            "/etc/letsencrypt/renewal-hooks/pre/stop: found",
            "/etc/letsencrypt/cli.ini: authenticator",
        ),
    ],
    "odd_places": [
        *("mount /etc/letsencrypt: found it read-only, need /etc/letsencrypt writable", "free inodes on /var/cache: "),
        "time zone: found Asia/Kathmandu, by which cron jobs and timers",
        "sshd: ListenAddress 0.0.0.0:2022: found sshd listening there",
        "/etc/ssh/sshd_config.d/80-own.conf: PermitRootLogin yes: found it within a Match",
    ],
    "not_at_boot": [
        "reboot: port 3005: found python3 started from a login, which would not run after the automatic reboot",
        "reboot: chat.service: found it running and not enabled",
    ],
    "hosts_readonly": ["mount /etc/hosts: found it read-only", "/etc/login.defs: found it", "/etc/fstab: found it"],
}
REFUSED_WITH_PACKAGES = {
    "unit_in_lib": ["unit codementee-backend.service: found it in /lib/systemd/system"],
    "beside_backend": [
        "queue.service: found python3 running in a folder of /var/www/codementee",
        "port 8001 of codementee-backend.service: found bot.service using it",
    ],
    "other_unit": [
        "fastapi.service: found it serving the site on port 8000",
        "/etc/nginx/conf.d/site.conf:2: proxy_pass: found proxy_pass http://api, which leads to 10.99.0.5: another",
    ],
    "environment_file": [
        *("codementee-backend.service: DB_NAME: found", "codementee-backend.service: STRIPE_KEY: found"),
        *("codementee-backend.service: INVOICES: found", "codementee-backend.service: LoadCredential: found"),
        "codementee-backend.service: MONGO_URL: found a MongoDB on cluster0.example.net, which",
        "/home/dev/shop/uploads/1.pdf: found a file that the backend seems to write, in a folder",
        "/srv/invoices: found a place that INVOICES names, and that Slipway's backend could not write to",
    ],
    "iptables_reject": ["iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited: found a rule that precedes"],
    "oracle_image": [
        "package netfilter-persistent: found rules that it loads at boot, which UFW replaces, '-A INPUT -j REJECT",
    ],
    "k3s": [
        f"iptables -t nat -A CNI-DN-2f3a -p tcp -m tcp --dport {port} -j DNAT --to-destination 10.42.0.8:{port}: found"
        for port in (80, 443)
    ],
    "nftables": ["nft inet filter input: found an nftables chain besides UFW's"],
    "nginx_broken": ["Nginx: found 'unknown directive \"nonsense\" in /etc/nginx/conf.d/own.conf:1'"],
    "nginx_site": [
        "/etc/nginx/sites-enabled/default:4: client_max_body_size: found",
        "/etc/nginx/sites-enabled/default:5: proxy_pass: found",
        "/etc/nginx/sites-enabled/default:6: location /blog/: found a path that Slipway does not serve",
        "/etc/nginx/sites-enabled/default:7: location /admin/: found",
        "/etc/nginx/sites-enabled/default:8: proxy_pass: found proxy_pass http://127.0.0.1:8001/, need backend_paths",
        "/etc/nginx/sites-enabled/default:8: deny: found deny all, need a site without it",
        "/etc/nginx/sites-enabled/default:8: proxy_set_header: found proxy_set_header X-Api-Key x",
        "/etc/nginx/sites-enabled/default:9: if: found if ($http_x_origin_secret",
        "/etc/nginx/sites-enabled/default: server servers.test, shop.example: found the name shop.example too",
        *("/etc/nginx/nginx.conf:13: log_format: found", "/etc/nginx/vhosts/blog: found it included"),
        "/etc/nginx/nginx.conf:15: charset: found charset koi8-r, need it in /etc/nginx/conf.d/NAME.conf",
        "/etc/nginx/modules-enabled/99-stream.conf:1: listen 443: found a port of Slipway's sites in stream",
    ],
    "certbot_standalone": ["certificate other.example: found pre_hook = systemctl stop nginx"],
    "certbot_used": [
        "certificate servers.test: found /etc/mail.pem, /opt/mail/compose.yml using it besides Nginx",
        "certificate servers.test: renew_hook = /usr/local/bin/copy-to-mail: found a hook of a certificate",
    ],
    "mongodb_elsewhere": [
        "/etc/mongod.conf: storage.dbPath: found '/data/mongodb', need mongodb_data = \"/data/mongodb\"",
        "/etc/mongod.conf: replication.replSetName: found 'orders', need mongodb_replica_set = \"orders\"",
        "database test_database: found 2 documents in it and none in codementee, need mongodb_database",
    ],
    "mongodb_password": ["MongoDB's users: found a MongoDB that requires a password"],
    "mongodb_closed_members": [
        "replica set rs0: found the members 127.0.0.1:27017, 127.0.0.1:27018",
        "MongoDB's users: found a MongoDB that requires a password",
    ],
    "mongodb_private_address": [
        "/etc/mongod.conf: net.bindIp: found",
        "port 27017: found mongod listening on",
        "database test_database: found 2 documents in it and none in codementee",
    ],
    "mongodb_without_pgrep": ["database test_database: found 2 documents in it and none in codementee"],
    "docker_compose": [
        *("port 80: found 'docker-proxy' listening", "port 27017: found 'docker-proxy' listening"),
        "iptables -t nat -A DOCKER ! -i br-5f3c1a2b4d5e -p tcp -m tcp --dport 80 -j DNAT",
    ],
    "caprover": [
        *("port 80: found 'docker-proxy' listening", "port 443: found 'docker-proxy' listening"),
        *("port 2377: found dockerd listening publicly", "port 3000: found a container's port"),
    ],
    "caddy": ["port 80: found 'caddy' listening", "port 443: found 'caddy' listening"],
    "apache": ["port 80: found 'apache2' listening"],
    "apache_stopped": ["apache2.service: found a stopped web server"],
    "ferm": ["package ferm: found a firewall", "iptables-legacy: found 15 rules"],
    "mean": [
        *("database meandb: found 2 documents", "pm2-ubuntu.service: found it serving the site"),
        "/etc/nginx/sites-enabled/default:4: proxy_pass: found",
    ],
    "nginx_compiled": ["/usr/sbin/nginx: found a program of no package"],
    "nginx_by_hand": ["Nginx: found it run by prompt.service"],
    "nginx_wildcard": [
        "/etc/nginx/sites-enabled/app.conf: server .servers.test: found the name .servers.test, which includes",
        "/etc/nginx/sites-enabled/old.disabled: found server blocks that are not included now",
        "/etc/systemd/system/nginx.service.d/own.conf: found 'ExecStartPre=/bin/mkdir -p /run/nginx-cache'",
    ],
    "apt_pins": [
        *("mount /var/www: found the option noexec", "package nginx: found it on hold and not installed"),
        "package fail2ban: found a pin by which apt never installs it",
    ],
    "ufw_rules": [
        *("ufw default deny outgoing: found", "ufw route allow in on wg0 out on eth0: found"),
        *("ufw allow from 10.0.0.5 to any port 5432 proto tcp: found", "ufw deny from 192.0.2.66: found"),
        "ufw allow in on wg1: found a rule for some addresses or an interface, which firewall_allow does not have, need"
        " `-A ufw-before-input -i wg1 -j ACCEPT` above COMMIT in /etc/ufw/before.rules and",
    ],
    "boot": [
        *("nftables.service: found it enabled", "/etc/sudoers.d/zz-own:%sudo ALL=(ALL:ALL) ALL: found"),
        *("user admin: found a password that must be changed", "sshd: MaxSessions: found 1"),
    ],
    "catch_all": [
        "/etc/nginx/sites-enabled/app: server without a name: found it proxying to port 8001 of codementee-backend",
        *("mongod.service: --config: found /etc/mongodb/mongod.conf", "time zone: found America/New_York"),
        'port 1194/udp: found python3 listening publicly, which the firewall would block, need "1194/udp"',
    ],
    "apt_later_files": [
        *("apt: APT::Periodic::Unattended-Upgrade: found '0'", "apt: DPkg::Lock::Timeout: found '60'"),
        "apt: Unattended-Upgrade::Origins-Pattern: found 'origin=Debian,codename=${distro_codename}-updates'",
    ],
    "fail2ban_broken": ["fail2ban: found 'Have not found any log file for postfix jail'"],
    "sudoers_tail": ["/etc/sudoers:admin ALL=(ALL:ALL) ALL: found a later rule"],
    "sshd_opts": [
        *('/etc/default/ssh: SSHD_OPTS="-p 22 -p 2222 -o PasswordAuthentication=yes": found', "sshd: port 2222: found"),
    ],
    "cron_script": ["/root/bin/nightly: mongodump --quiet", "/root/bin/at-boot: iptables -P INPUT DROP: found"],
    "mongodb_shared": ["blog.service: found it connected to MongoDB", "/etc/cron.d/backup: "],
}
