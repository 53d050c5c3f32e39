"""What somebody or something does to a server, and the operation of a plan that must notice."""

from __future__ import annotations

from slipway.ops.packages import REFRESHED
from support.lab_host import mongosh

STATUS = "/var/lib/dpkg/status"

# Writes a key and a certificate that ended yesterday, with the library that certbot brings.
EXPIRED = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.utcnow()
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "codementee.test")])
day = datetime.timedelta(1)
builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - 90 * day, now - day)
builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("codementee.test")]), critical=False)
pem = serialization.Encoding.PEM
with open(sys.argv[1], "wb") as file:
    plain = serialization.NoEncryption()
    file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
with open(sys.argv[2], "wb") as file:
    file.write(builder.sign(key, hashes.SHA256()).public_bytes(pem))
"""

# By what is done: a shell script, and the operation that must notice.
NOTICED_BY: dict[str, tuple[str, str]] = {
    "a configuration file edited": (
        "sed -i 's/keepalive_timeout 65s/keepalive_timeout 5s/' /etc/nginx/nginx.conf",
        "Configure Nginx",
    ),
    "the site's file removed": ("rm /etc/nginx/sites-available/codementee", "Configure Nginx"),
    "the site disabled": ("rm /etc/nginx/sites-enabled/codementee && systemctl reload nginx", "Configure Nginx"),
    "the secrets made readable": ("chmod 755 /etc/codementee/credentials", "Install the backend's secrets"),
    "a file given away": ("chown nobody /etc/mongod.conf", "Configure MongoDB"),
    "MongoDB opened to the world": (
        "sed -i 's/bindIp: .*/bindIp: 0.0.0.0/' /etc/mongod.conf && systemctl restart mongod",
        "Configure MongoDB",
    ),
    "the database stopped": ("systemctl stop mongod", "Start MongoDB"),
    "the backend stopped": ("systemctl stop codementee-backend.socket codementee-backend", "Start the backend"),
    "the backend hangs": ("pkill --signal STOP --uid codementee-backend", "Start the backend"),
    "Nginx stopped and disabled": ("systemctl disable --now nginx", "Start Nginx"),
    "the backend masked": (
        "systemctl stop codementee-backend; rm /etc/systemd/system/codementee-backend.service;"
        " systemctl mask codementee-backend.service",
        "Configure the backend",
    ),
    "a unit edited": (
        "sed -i 's/--workers 2/--workers 1/' /etc/systemd/system/codementee-backend.service",
        "Configure the backend",
    ),
    "a package removed": ("apt-get remove -y -q unattended-upgrades", "Install packages"),
    "certbot removed": ("apt-get remove -y -q certbot", "Install packages"),
    "a power cut emptied apt's lists": (
        "apt-get remove -y -q unattended-upgrades; truncate --size 0 /var/lib/apt/lists/*_Packages",
        "Install packages",
    ),
    "a power cut left a package half unpacked": (
        # As dpkg writes it down before it begins. It is only needed by one of ours, and apt refuses all else meanwhile.
        # The lists are old then: they are refreshed before MongoDB's key is looked at.
        "sed -i '/^Package: python3-apt$/,/^$/s/^Status: .*/Status: install reinstreq unpacked/' /var/lib/dpkg/status;"
        f" rm -f {REFRESHED}",
        "Install base packages",
    ),
    "a port opened": ("ufw allow 9999/tcp", "Remove other firewall rules"),
    "the firewall switched off": ("ufw disable", "Allow only ssh, the web and firewall_allow"),
    "the firewall's default changed": (
        "ufw default allow incoming",
        "Allow only ssh, the web and firewall_allow",
    ),
    "an expired certificate": (
        f"cd /etc/letsencrypt/live/codementee && python3 -c '{EXPIRED}' $(realpath privkey.pem fullchain.pem)"
        " && cp fullchain.pem $(realpath cert.pem) && systemctl reload nginx",
        "Get a certificate for codementee.test",
    ),
    "a power cut emptied what certbot wrote": (
        "cd /etc/letsencrypt && truncate --size 0 archive/codementee/*.pem renewal/*.conf &&"
        " find accounts -name '*.json' -exec truncate --size 0 {} + ; ! systemctl reload nginx",
        "Get a certificate for codementee.test",
    ),
    "the certificates gone": ("rm -rf /etc/letsencrypt/live", "Get a certificate for codementee.test"),
    "the renewal switched off": ("systemctl disable --now certbot.timer", "Enable the certificate renewal timer"),
    "the renewal hook not executable": (
        "chmod 644 /etc/letsencrypt/renewal-hooks/deploy/reload-nginx",
        "Install the renewal hook",
    ),
    "the current release unlinked": ("rm /var/www/codementee/current", "Link the current release"),
    "MongoDB's pin removed": ("rm /etc/apt/preferences.d/mongodb", "Pin MongoDB to the 6.0 series"),
    "another key for MongoDB's packages": (
        "cp /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/mongodb-server.asc",
        "Trust MongoDB's signing key",
    ),
    "a stranger's key beside MongoDB's": (
        "cd /usr/share/keyrings && { gpg --dearmor < mongodb-server.asc; cat debian-archive-keyring.gpg; } |"
        " gpg --enarmor | sed 's/ARMORED FILE/PUBLIC KEY BLOCK/' > new && mv new mongodb-server.asc",
        "Trust MongoDB's signing key",
    ),
    "the time zone changed": ("ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime", "Set the time zone"),
    "the backend's user can log in": (
        "usermod --shell /bin/bash codementee-backend",
        "Disable logins of the backend's user",
    ),
    "updates of every kind switched on": (
        "rm /etc/apt/apt.conf.d/52slipway",
        "Configure unattended security updates",
    ),
    "updates switched off": (
        "systemctl disable --now apt-daily-upgrade.timer",
        "Enable the timer that installs updates",
    ),
    "a driver let in again": ("rm /etc/modprobe.d/slipway.conf", "Blacklist unused kernel modules"),
    "core dumps switched on": (
        "echo '* hard core unlimited' >> /etc/security/limits.d/slipway.conf",
        "Harden logins",
    ),
    "a laxer mask for new files": (
        "sed -i 's/^UMASK.*/UMASK 022/' /etc/login.defs",
        "Harden new users' homes and passwords",
    ),
    "a jail switched off": (
        "sed -i 's/^enabled = true/enabled = false/' /etc/fail2ban/jail.d/slipway.local",
        "Configure fail2ban",
    ),
    "fail2ban disabled": ("systemctl disable fail2ban", "Start fail2ban"),
    "the comparison of files switched off": (
        "systemctl disable --now slipway-integrity.timer",
        "Enable the daily integrity check",
    ),
    "what is compared changed": ("echo '!/etc' >> /etc/aide/aide.conf", "Configure the daily integrity check"),
    "Nginx's sandbox removed": (
        "rm /etc/systemd/system/nginx.service.d/slipway.conf",
        "Sandbox Nginx",
    ),
    "mongod's sandbox opened": (
        "sed -i /ProtectSystem/d /etc/systemd/system/mongod.service.d/slipway.conf",
        "Sandbox MongoDB",
    ),
    "the backend's limit removed": (
        "sed -i /MemoryMax/d /etc/systemd/system/codementee-backend.service",
        "Configure the backend",
    ),
    "a header removed": ("sed -i /X-Frame/d /etc/nginx/snippets/slipway-headers.conf", "Configure Nginx"),
    "sshd by another file": (
        "echo 'X11Forwarding yes' > /etc/ssh/sshd_config.d/00-before.conf",
        "Harden sshd",
    ),
    "other rights by sudo": ("echo '# edited' >> /etc/sudoers.d/admin", "Authorize admin's keys and sudo"),
    "the dead man's switch edited": ("echo exit 0 >> /usr/local/lib/slipway/undo", "Install the lockout rollback"),
    "another locale": ("echo LANG=de_DE.UTF-8 > /etc/default/locale", "Set the locale"),
    "MongoDB's user dropped": (mongosh('db.dropUser("backend")'), "Create MongoDB's users"),
    "a secret nobody needs": (
        "cp -p /etc/codementee/credentials/JWT_SECRET /etc/codementee/credentials/OLD",
        "Install the backend's secrets",
    ),
}


def package_gone(name: str) -> str:
    """dpkg's own record of a package that was removed: to remove it and install it again takes too long."""
    return f"sed -i '/^Package: {name}$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' {STATUS}"


# Those of which the plans of Slipway and of plain pyinfra are compared: the same, but for packages that are really
# removed; and more, so that each operation has its turn.
COMPARED: dict[str, str] = {
    **{what: script for what, (script, _) in NOTICED_BY.items() if "apt-get remove" not in script},
    # The first of the two plans would try a socket that is still open, and it would fail for the second.
    "the backend masked": "systemctl stop codementee-backend.socket codementee-backend;"
    " ln -sf /dev/null /etc/systemd/system/codementee-backend.service; systemctl daemon-reload",
    "a package gone": package_gone("unattended-upgrades"),
    "one of the first packages gone": package_gone("gnupg"),
    "MongoDB's shell gone": package_gone("mongodb-mongosh"),
    "apt's settings removed": "rm /etc/apt/apt.conf.d/00-slipway",
    "MongoDB's repository removed": "rm /etc/apt/sources.list.d/mongodb.sources",
    "Nginx would start unconfigured": "rm /etc/systemd/system/nginx.service.d/unconfigured.conf",
    "the time zone's name changed": "echo Asia/Kolkata > /etc/timezone",
    "the journal unlimited": "rm /etc/systemd/journald.conf.d/slipway.conf",
    "updates are not looked for": "systemctl mask --now apt-daily.timer",
    "no restart after updates": "chmod 644 /usr/local/lib/slipway/restart-updated",
    "a timer that systemd does not know": "echo '# edited' >> /etc/systemd/system/slipway-integrity.service",
    "another banner": "echo hello > /etc/issue.net",
    "the way back's timer edited": "echo >> /etc/systemd/system/slipway-undo.timer",
    "no way back after a reboot": "systemctl disable slipway-undo.timer",
    "another key let in": "echo '# a key' >> /home/admin/.ssh/authorized_keys",
    "the keys readable": "chmod 644 /home/admin/.ssh/authorized_keys",
    "a rule of the firewall gone": "ufw delete allow 443/tcp",
    "small primes": "echo '20120821044046 2 6 100 2047 2 DA57B18976E9C55CEAC3BFFF' >> /etc/ssh/moduli",
    "sshd's file edited": "echo '# edited' >> /etc/ssh/sshd_config.d/00-slipway.conf",
    "the host key gone": "mv /etc/ssh/ssh_host_ed25519_key /etc/ssh/aside",
    "the data folder open": "chmod 755 /var/lib/mongodb",
    "MongoDB disabled": "systemctl disable mongod",
    "MongoDB's file touched": "sleep 3; touch /etc/mongod.conf",
    "another password for the database": "printf wrong > /etc/codementee/credentials/MONGODB_BACKEND_PASSWORD",
    "a secret gone": "rm /etc/codementee/credentials/JWT_SECRET",
    "the site's folder open": "chmod 777 /var/www/codementee",
    "the backend's usual path gone": "rm /var/www/codementee/backend",
    "the frontend's usual path elsewhere": "ln -sfn /srv /var/www/codementee/frontend",
    "the backend's socket edited": "echo '# edited' >> /etc/systemd/system/codementee-backend.socket",
    "the backend disabled": "systemctl disable codementee-backend.service codementee-backend.socket",
    "no folder for ACME answers": "rm -r /var/www/letsencrypt",
    "the error page edited": "echo '<!-- edited -->' >> /usr/share/slipway/errors/unavailable.html",
    "no placeholder": "rm -r /etc/nginx/tls/placeholder",
    "no certificate served": "rm /etc/nginx/tls/codementee",
    "a snippet of Nginx's gone": "rm /etc/nginx/snippets/slipway-headers.conf",
    "another site of the same name": "printf 'server { server_name codementee.test; }' > /etc/nginx/conf.d/other.conf",
    "fail2ban stopped": "systemctl stop fail2ban",
}
