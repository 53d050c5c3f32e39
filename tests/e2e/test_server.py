"""What Slipway promises of a server, on a real host that starts as a bare Debian."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from slipway.operations import REFRESHED
from support.lab_host import INSTANCE, PENDING, PROJECT, LabHost, bring_up
from tasks.preflight import addresses_command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="throwaway hosts need root")


def test_a_fresh_host_becomes_the_server_and_a_second_apply_changes_nothing(server):
    assert "✓ codementee: Get a certificate for codementee.test" in server.first_apply.stdout
    again = server.apply()
    assert "nothing to change" in again.stdout
    assert server.plan() == []


def test_a_first_apply_runs_apt_twice(server):
    first, second = server.apt_runs
    assert "mongodb" not in first, "its repository is trusted after a look at its key"
    for package in ("certbot", "mongodb-org-server", "nginx", "ufw", "unattended-upgrades"):
        assert package in second


def test_nginx_first_starts_with_the_sites_configuration(server):
    assert "unmet condition check (ConditionPathExists=/etc/nginx/tls)" in server.ssh("journalctl -u nginx | head -n 3")


def test_the_server_is_verified_and_the_flows_work(server, tmp_path):
    report = tmp_path / "report.html"
    done = server.slipway("verify", "lab", "--html", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_login_gives_a_token_that_opens_the_companies" in report.read_text()


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

# What somebody or something does to a server, and the operation that must notice. Each is seen by a plan, mended by an
# apply, and then gone from the next plan.
DRIFTS = {
    "a configuration file edited": (
        "sed -i 's/keepalive_timeout 65s/keepalive_timeout 5s/' /etc/nginx/nginx.conf",
        "Configure Nginx",
    ),
    "the site's file removed": ("rm /etc/nginx/sites-available/codementee", "Configure Nginx"),
    "the site disabled": ("rm /etc/nginx/sites-enabled/codementee && systemctl reload nginx", "Configure Nginx"),
    "the secrets made readable": ("chmod 755 /etc/codementee/credentials", "Hand the backend its secrets"),
    "a file given away": ("chown nobody /etc/mongod.conf", "Configure MongoDB"),
    "MongoDB opened to the world": (
        "sed -i 's/bindIp: .*/bindIp: 0.0.0.0/' /etc/mongod.conf && systemctl restart mongod",
        "Configure MongoDB",
    ),
    "the database stopped": ("systemctl stop mongod", "Run MongoDB"),
    "the backend stopped": ("systemctl stop codementee-backend.socket codementee-backend", "Run the backend"),
    "the backend hangs": ("pkill --signal STOP --uid codementee-backend", "Run the backend"),
    "Nginx stopped and disabled": ("systemctl disable --now nginx", "Run Nginx"),
    "the backend masked": (
        "systemctl stop codementee-backend; rm /etc/systemd/system/codementee-backend.service;"
        " systemctl mask codementee-backend.service",
        "Describe the backend",
    ),
    "a unit edited": (
        "sed -i 's/--workers 2/--workers 1/' /etc/systemd/system/codementee-backend.service",
        "Describe the backend",
    ),
    "a package removed": ("apt-get remove -y -q unattended-upgrades", "Install the other packages"),
    "certbot removed": ("apt-get remove -y -q certbot", "Install the other packages"),
    "a power cut emptied apt's lists": (
        "apt-get remove -y -q unattended-upgrades; truncate --size 0 /var/lib/apt/lists/*_Packages",
        "Install the other packages",
    ),
    "a power cut left a package half unpacked": (
        # As dpkg writes it down before it begins. It is only needed by one of ours, and apt refuses all else meanwhile.
        # The lists are old then: they are refreshed before MongoDB's key is looked at.
        "sed -i '/^Package: python3-apt$/,/^$/s/^Status: .*/Status: install reinstreq unpacked/' /var/lib/dpkg/status;"
        f" rm -f {REFRESHED}",
        "Install the first packages",
    ),
    "a port opened": ("ufw allow 9999/tcp", "Close what is not allowed"),
    "the firewall switched off": ("ufw disable", "Deny what comes in but ssh, the web and what is allowed"),
    "the firewall's default changed": (
        "ufw default allow incoming",
        "Deny what comes in but ssh, the web and what is allowed",
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
    "the renewal switched off": ("systemctl disable --now certbot.timer", "Renew certificates by timer"),
    "the renewal hook not executable": (
        "chmod 644 /etc/letsencrypt/renewal-hooks/deploy/reload-nginx",
        "Reload Nginx after each renewal",
    ),
    "the current release unlinked": ("rm /var/www/codementee/current", "Point to a release"),
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
        "Keep the backend's user from logging in",
    ),
}


# All at once, but for what the same operation must notice, and what stops a service: a new configuration starts it too.
ROUNDS: dict[str, dict[str, str]] = {}
for drift, (_, operation) in DRIFTS.items():
    kind = "services" if operation.startswith("Run ") else "the rest"
    earlier = sum(operation in done.values() for done in ROUNDS.values())
    ROUNDS.setdefault(f"{kind}, {earlier + 1}", {})[drift] = operation


@pytest.mark.parametrize("drifts", ROUNDS.values(), ids=ROUNDS)
def test_drifts_are_seen_by_a_plan_and_mended_by_an_apply(server, drifts):
    # One may be in the way of another, as a stopped Nginx is of a reload: the plan tells whether each came to pass.
    server.ssh("".join(f"( {DRIFTS[drift][0]}\n)\n" for drift in drifts), check=False)
    seen = set(server.operations())
    assert [drift for drift, operation in drifts.items() if operation not in seen] == []
    done = server.apply().stdout
    assert [drift for drift, operation in drifts.items() if f"✓ codementee: {operation}" not in done] == []
    assert server.plan() == []
    site = server.site()
    assert site.get("/api/health").status_code == 200
    assert site.get("/").status_code == 200


def test_a_restart_that_an_interrupted_run_never_came_to_is_made_up_for(server):
    """As if the run had ended between the file and the restart."""
    for unit, files, operation in (
        ("mongod", "/etc/mongod.conf", "Run MongoDB"),
        ("codementee-backend", "/etc/codementee/credentials/JWT_SECRET", "Run the backend"),
        ("nginx", "/etc/nginx/nginx.conf", "Run Nginx"),
    ):
        server.ssh(f"sleep 4; touch {files}; systemctl is-active {unit}")
        assert server.operations() == [operation]
        server.apply()
        assert server.plan() == []


# Holds the lock that apt and dpkg take, as unattended-upgrades does on a fresh server.
LOCKED = """
import fcntl, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
open("/run/locked", "w").close()
time.sleep(15)
"""


# A mongod that ends as soon as it starts, as one does whose data are damaged.
ENDS_AT_ONCE = r"""
mv /usr/bin/mongod /usr/bin/mongod.away
printf '#!/bin/sh\necho damaged on purpose >&2; exit 3\n' > /usr/bin/mongod; chmod 755 /usr/bin/mongod
systemctl restart --no-block mongod
until systemctl show -p SubState mongod | grep auto-restart; do sleep 0.1; done
"""


def test_a_database_that_ends_over_and_over_is_no_clean_plan_and_told_with_its_last_words(server):
    server.ssh(ENDS_AT_ONCE)
    seen = server.operations()
    done = server.slipway("apply", "lab", "--yes")
    server.ssh("mv /usr/bin/mongod.away /usr/bin/mongod")
    assert "Run MongoDB" in seen
    assert done.returncode == 1
    assert "damaged on purpose" in done.stderr
    server.apply()
    assert server.plan() == []


def test_an_apply_waits_for_whoever_else_installs_packages(server):
    server.ssh("apt-get remove -y -q unattended-upgrades; rm -f /run/locked")
    server.ssh(f"systemd-run --quiet --collect python3 -c '{LOCKED}'; until [ -e /run/locked ]; do sleep 0.1; done")
    began = time.monotonic()
    done = server.apply()
    assert "✓ codementee: Install the other packages" in done.stdout
    assert time.monotonic() - began > 10, "this test would not notice anything"
    assert server.plan() == []


OTHER_SETTINGS = {
    "site_aliases": '["www.codementee.test"]',
    "backend_listen": "127.0.0.1:8001",
    "backend_workers": "3",
    "backend_environment": '{"TOKEN_MINUTES": "30"}',
    "backend_secrets_in": "environment",
    "mongodb_database": "mentees",
    "mongodb_backend_user": "mentor",
    "mongodb_port": "27018",
    "mongodb_cache_gb": "0.5",
    "locale": "en_GB.UTF-8",
    "timezone": "Asia/Kolkata",
    "firewall_allow": '["8443/tcp"]',
    "nginx_max_body_mb": "3",
    "extra_packages": '["tree"]',
}


def test_a_server_with_other_settings_is_as_good_and_finds_its_way_back(server):
    other = [part for item in OTHER_SETTINGS.items() for part in ("--data", "=".join(item))]
    server.apply(*other)
    assert server.plan(*other) == []
    verified = server.slipway("verify", "lab", *other)
    with server.site().handshake(name="www.codementee.test"):
        pass
    server.apply()
    assert verified.returncode == 0, verified.stdout
    assert server.plan() == []


def test_a_key_with_another_fingerprint_is_not_trusted(server):
    server.ssh("rm /usr/share/keyrings/mongodb-server.asc")
    done = server.slipway("apply", "lab", "--yes", "--data", f"mongodb_key_fingerprint={'0' * 40}")
    assert done.returncode == 1
    assert "another fingerprint than mongodb_key_fingerprint" in done.stderr
    assert server.ssh("ls /usr/share/keyrings/ | grep mongodb || true") == ""
    server.apply()
    assert server.plan() == []


def test_a_configuration_that_nginx_refuses_never_replaces_the_one_in_force(server):
    server.ssh("echo 'nonsense on;' > /etc/nginx/conf.d/broken.conf")
    before = server.ssh("sha256sum /etc/nginx/nginx.conf")
    done = server.slipway("apply", "lab", "--yes", "--data", "nginx_max_body_mb=11")
    server.ssh("rm /etc/nginx/conf.d/broken.conf")
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert server.ssh("sha256sum /etc/nginx/nginx.conf") == before
    assert server.site().get("/").status_code == 200
    server.apply()


def test_when_the_acme_server_refuses_the_site_serves_on(server):
    nowhere = "tls_acme_server=https://127.0.0.1:1/dir"
    done = server.slipway("apply", "lab", "--yes", "--data", nowhere)
    assert done.returncode == 1
    assert server.site().get("/").status_code == 200
    assert server.plan() == []


def test_a_certificate_is_renewed_by_certbot_and_nginx_serves_the_new_one(server):
    with server.site().handshake() as connection:
        before = connection.getpeercert()["serialNumber"]
    server.ssh("systemctl cat certbot.service | grep -q 'certbot -q renew'")
    server.ssh("certbot -q renew --force-renewal --no-random-sleep-on-renew")
    with server.site().handshake() as connection:
        assert connection.getpeercert()["serialNumber"] != before
    assert server.plan() == []


def test_nginx_says_so_itself_when_the_backend_is_down(server):
    server.ssh("systemctl stop codementee-backend.socket codementee-backend.service")
    site = server.site()
    page = site.get("/api/companies", headers={"Accept": "text/html"})
    program = site.post("/api/auth/login", json={"email": "a@b.c", "password": "x"})
    server.ssh("systemctl start codementee-backend.socket codementee-backend.service")
    assert (page.status_code, program.status_code) == (502, 502)
    assert "Back in a moment" in page.text
    assert "does not answer" in program.json()["detail"]
    assert site.get("/").status_code == 200
    assert server.plan() == []


def test_the_backend_comes_back_when_it_is_killed(server):
    server.ssh("systemctl kill --signal=KILL codementee-backend.service")
    deadline = time.monotonic() + 30
    time.sleep(1)  # the site must be seen after the kill, not before it
    while server.site().get("/api/health").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture
def broken_backend(tmp_path):
    """The folder of a backend that ends as soon as it starts."""
    folder = tmp_path / "backend"
    folder.mkdir()
    (folder / "server.py").write_text("raise SystemExit('broken on purpose')\n")
    requirements = PROJECT / "examples/codementee/backend/requirements.txt"
    (folder / "requirements.txt").write_text(requirements.read_text())
    return folder


def answers(site) -> bool:
    try:
        return site.get("/api/health").status_code == 200
    except OSError:
        return False


def test_everything_comes_up_in_order_after_a_restart(server):
    started = "cut -d' ' -f22 /proc/1/stat"
    before = server.ssh(started)
    server.ssh("systemctl reboot", check=False)
    deadline = time.monotonic() + 90
    while server.ssh(started, check=False) in ("", before):
        assert time.monotonic() < deadline, "the host is not back 90 s after a restart"
        time.sleep(0.5)
    while not answers(server.site()):
        assert time.monotonic() < deadline, "the site is not back 90 s after a restart"
        time.sleep(0.5)
    entered = {
        unit: int(server.ssh(f"systemctl show --property=ActiveEnterTimestampMonotonic --value {unit}"))
        for unit in ("mongod.service", "codementee-backend.service")
    }
    assert entered["mongod.service"] < entered["codementee-backend.service"]
    assert server.plan() == []


def test_a_setting_that_is_wrong_is_told_before_any_host_is_touched(server):
    done = server.slipway("apply", "lab", "--yes", "--data", "mongodb_prot=1", "--data", "site_domain=no dots")
    assert done.returncode == 1
    assert "did you mean 'mongodb_port'?" in done.stderr
    assert "site_domain: found 'no dots'" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.plan() == []


def test_preflight_tells_everything_that_is_in_the_way_at_once(server):
    hosts = server.ssh("cat /etc/hosts")
    address = server.site().address
    server.ssh(f"sed -i 's/^{address}/203.0.113.7/' /etc/hosts")
    wrong = ("--data", "mongodb_version=4.4", "--data", "mongodb_apt_url=https://repo.mongodb.org/apt")
    done = server.slipway("plan", "lab", *wrong)
    server.ssh(f"cat > /etc/hosts <<'END'\n{hosts}\nEND")
    assert done.returncode == 1
    assert "found codementee.test at 203.0.113.7" in done.stderr
    assert "mongodb_version: found '4.4'; for Debian 12 MongoDB has 7.0, 8.0" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_name_that_is_not_in_the_inventory_is_told(server):
    done = server.slipway("plan", "lab", "--limit", "nosuch")
    assert done.returncode == 1
    assert "there are: app, codementee, db" in done.stderr


@pytest.fixture(scope="module")
def second(ci_lab):
    """A fresh host that an administrator with sudo logs in to."""
    return bring_up("second", "--user", "admin")


# A server that has everything wrong with it, as its programs see it.
IN_THE_WAY = """
sed 's/^MemTotal:.*/MemTotal: 524288 kB/' /proc/meminfo > /root/meminfo; mount --bind /root/meminfo /proc/meminfo
sed 's/^VERSION_ID=.*/VERSION_ID="11"/' /etc/os-release > /root/release; mount --bind /root/release /etc/os-release
mount -t tmpfs -o size=100m tmpfs /var/cache
cp /etc/hosts /root/hosts; sed -i 's/^10[0-9.]*/203.0.113.7/' /etc/hosts
ip route save > /root/routes; ip route del default
systemd-run --quiet --unit=stranger python3 -c 'import socket; socket.create_server(("", 80)).accept()'
until ss -Hltn sport = :80 | grep -q .; do sleep 0.1; done
touch /root/before
"""
OUT_OF_THE_WAY = """
systemctl stop stranger; ip route restore < /root/routes 2>/dev/null || :; cat /root/hosts > /etc/hosts
umount /var/cache /etc/os-release /proc/meminfo
"""


def test_a_host_that_can_not_be_the_server_is_told_everything_at_once_and_left_alone(second):
    second.ssh(IN_THE_WAY)
    done = second.slipway("apply", "lab", "--yes")
    changed = second.ssh("find /etc /usr /var/lib/dpkg -newer /root/before")
    second.ssh(OUT_OF_THE_WAY)
    assert done.returncode == 1
    for problem in (
        "operating system: found debian 11, need one of: Debian 12, ",
        "memory: found 512 MiB, need 900 MiB",
        "free disk space on /var/cache: found 100 MiB, need 500 MiB",
        "network: found no connection to ",
        "port 80: found 'python3' listening, need it for nginx",
        "site_domain: found second.test at 203.0.113.7, need this host's",
    ):
        assert f"  - {problem}" in done.stderr
    assert "Traceback" not in done.stderr
    assert changed == ""


def test_a_provider_that_writes_the_servers_name_into_its_hosts_file_is_no_wrong_address(second):
    second.ssh("cp /etc/hosts /root/hosts; sed -i 's/^127.0.0.1.*/& second.test/' /etc/hosts")
    done = second.slipway("plan", "lab")
    second.ssh("cat /root/hosts > /etc/hosts")
    assert done.returncode == PENDING, done.stderr


def test_where_the_hosts_file_knows_the_loopback_address_alone_the_dns_is_asked(second):
    name = "deb.debian.org"  # which every DNS that a host can install packages by knows
    second.ssh(f"cp /etc/hosts /root/hosts; echo 127.0.1.1 {name} >> /etc/hosts")
    seen = second.ssh(f"getent ahosts {name} | cut -d' ' -f1 | sort -u")
    found = second.ssh(addresses_command(name))
    second.ssh("cat /root/hosts > /etc/hosts")
    assert seen == "127.0.1.1", "this test would not notice anything"
    assert found
    assert "127.0.1.1" not in found.split()


def test_sudo_that_wants_a_password_is_told_before_anything_else(second):
    second.ssh("sed -i 's/NOPASSWD: //' /etc/sudoers.d/admin")
    done = second.slipway("plan", "lab")
    second.ssh("sed -i 's/ALL$/NOPASSWD: ALL/' /etc/sudoers.d/admin")
    assert done.returncode == 1
    assert "NOPASSWD" in done.stderr


# An operation, and how many seconds after it an apply is at what takes long: each run of apt, the release, the
# certificate.
CUTS = {
    "Let apt wait for its lock": 3,
    "Pin MongoDB to the 6.0 series": 3,
    "Make the site's folder": 2,
    "Make a placeholder certificate": 1.5,
}


@pytest.mark.parametrize("operation", CUTS)
def test_an_interrupted_apply_says_how_to_go_on(second, operation):
    command = [sys.executable, "-m", "slipway", "apply", "lab", "--yes", "--verbose"]
    running = subprocess.Popen(
        command, cwd=PROJECT, env=second.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in running.stdout:
        if line[0] in "✓=" and operation in line:
            break
    time.sleep(CUTS[operation])
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "run it again" in errors
    assert "Traceback" not in errors


def test_plain_pyinfra_makes_the_same_server_with_sudo(second, server):
    """It goes on from the interrupted applies above, and Slipway finds nothing to change after it."""
    command = [str(PROJECT / ".venv/bin/pyinfra"), "-y", "lab/inventory.py", "deploy.py"]
    done = subprocess.run(command, cwd=PROJECT, env=second.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert second.plan() == []
    listing = (
        "cd /etc && find nginx/nginx.conf nginx/sites-available mongod.conf systemd/system"
        " apt/preferences.d -type f -not -path '*tls*' | sort | xargs sudo sha256sum"
    )
    same = listing.replace("sha256sum", "sed s/second/codementee/g")
    # Their order is that in which they were opened: the other host's ssh has been at other ports.
    rules = "ufw show added | sort"
    assert second.ssh(f'sudo sh -c "{same}"') == server.ssh(same.replace("sudo ", ""))
    assert second.ssh(f"sudo {rules}") == server.ssh(rules)


def test_a_first_release_that_does_not_come_up_is_told_and_mended_by_the_next(second, broken_backend):
    """On the host of the interrupted applies, whose releases are taken away."""
    second.ssh("systemctl stop codementee-backend.socket codementee-backend; rm -rf /var/www/codementee")
    done = second.slipway("apply", "lab", "--yes", "--data", f"backend_source={broken_backend}")
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "Run the backend" in second.operations()
    done = second.slipway("release", "lab", "--yes")
    assert done.returncode == 0, done.stderr
    second.apply()
    assert second.plan() == []


def test_what_is_in_the_way_of_several_hosts_is_told_at_once(server, second):
    both = LabHost(f"{server.name},{second.name}", INSTANCE)
    wrong = ("--data", "mongodb_version=4.4", "--data", "mongodb_apt_url=https://repo.mongodb.org/apt")
    done = both.slipway("plan", "lab", *wrong)
    assert done.returncode == 1
    for host in (server, second):
        assert f"{host.name} can't become the server yet" in done.stderr
    assert done.stderr.count("for Debian 12 MongoDB has 7.0, 8.0") == 2


def test_a_user_without_root_or_sudo_is_told_so(second):
    done = second.slipway("plan", "lab", "--data", "_sudo=false")
    assert done.returncode == 1
    assert "rights: found a user that is not root, need root or sudo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_is_reached_by_ipv6_alone_is_planned_and_verified_as_any_other(server):
    address = server.ssh("ip -6 -o addr show scope global | awk '{print $4}'").partition("/")[0]
    by_ipv6 = ("--data", f"ssh_hostname={address}")
    assert server.plan(*by_ipv6) == []
    verified = server.slipway("verify", "lab", *by_ipv6)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "ports answering from outside, IPv6" in verified.stdout
