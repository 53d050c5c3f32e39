"""Servers as their earlier owners left them (tests/servers): what is on them is kept, or refused by name before
anything changes."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import time
from collections.abc import Iterator

import pytest

from slipway.lab import hosts, snapshots
from support.checkout import PROJECT
from support.lab_host import LabHost, bring_up, mongosh

RECIPES = PROJECT / "tests/servers"
LABEL = "bare"

# What is refused, by the start of each line; those of the first group need no packages and are
# made on one server.
REFUSED = {
    "names": ["user codementee-backend: found a user with a login", "/var/www/codementee: found releases of another"],
    "logins": [
        "sshd: port 2222: found",
        "sshd: AllowUsers: found lab root deploy, without admin",
        "user deploy: found",
    ],
    "public_service": ['port 3000: found python3 listening publicly, which the firewall would block, need "3000/tcp"'],
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
        "time zone: found Asia/Kathmandu, by which cron jobs and timers run, need timezone = ",
        "sshd: ListenAddress 0.0.0.0:2022: found sshd listening there",
        "/etc/ssh/sshd_config.d/80-own.conf: PermitRootLogin yes: found it within a Match",
    ],
    "hosts_readonly": ["mount /etc/hosts: found it read-only", "/etc/login.defs: found it", "/etc/fstab: found it"],
}
REFUSED_WITH_PACKAGES = {
    "unit_in_lib": ["unit codementee-backend.service: found it in /lib/systemd/system"],
    "environment_file": [
        *("codementee-backend.service: DB_NAME: found", "codementee-backend.service: STRIPE_KEY: found"),
        "/home/dev/shop/uploads/1.pdf: found a file that the backend seems to write, in a folder",
    ],
    "iptables_reject": ["iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited: found a rule that precedes"],
    "nftables": ["nft inet filter input: found an nftables chain besides UFW's"],
    "nginx_broken": ["Nginx: found 'unknown directive \"nonsense\" in /etc/nginx/conf.d/own.conf:1'"],
    "nginx_site": [
        "/etc/nginx/sites-enabled/default:4: client_max_body_size: found",
        "/etc/nginx/sites-enabled/default:5: proxy_pass: found",
        "/etc/nginx/sites-enabled/default:6: location /blog/: found a path that Slipway does not serve",
        "/etc/nginx/sites-enabled/default:7: location /admin/: found",
        "/etc/nginx/sites-enabled/default: server servers.test, shop.example: found the name shop.example too",
        *("/etc/nginx/nginx.conf:13: log_format: found", "/etc/nginx/vhosts/blog: found it included"),
    ],
    "certbot_standalone": ["certificate other.example: found pre_hook = systemctl stop nginx"],
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
        *("database meandb: found 2 documents", "port 3000: found node listening publicly"),
        *("pm2-ubuntu.service: found it connected to MongoDB", "pm2-ubuntu.service: found it serving the site"),
        "/etc/nginx/sites-enabled/default:4: proxy_pass: found",
    ],
    "nginx_compiled": ["/usr/sbin/nginx: found a program of no package"],
    "nginx_by_hand": ["Nginx: found it run by prompt.service"],
    "nginx_wildcard": [
        "/etc/nginx/sites-enabled/app.conf: server .servers.test: found the name .servers.test, which includes",
        "/etc/nginx/sites-enabled/old.disabled: found server blocks that are not included now",
        "/etc/systemd/system/nginx.service.d/own.conf: found 'ExecStartPre=/bin/mkdir -p /run/nginx-cache'",
    ],
    "snap_certbot": [
        "/snap/bin/certbot: found a second certbot",
        "certificate other.example: nginx: found authenticator = nginx, whose plugin",
    ],
    "apt_pins": [
        *("mount /var/www: found the option noexec", "package nginx: found it on hold and not installed"),
        "package fail2ban: found a pin by which apt never installs it",
    ],
    "ufw_rules": [
        *("ufw default deny outgoing: found", "ufw route allow in on wg0 out on eth0: found"),
        *("ufw allow from 10.0.0.5 to any port 5432 proto tcp: found", "ufw deny from 192.0.2.66: found"),
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


@pytest.fixture(scope="module")
def untouched() -> Iterator[LabHost]:
    """A fresh host with the recipes on it, and its snapshot."""
    host = bring_up("servers")
    settings = host.data
    names = {"DOMAIN": "site_domain", "MONGODB_APT_URL": "mongodb_apt_url", "MONGODB_KEY_URL": "mongodb_key_url"}
    names |= {"MONGODB_VERSION": "mongodb_version", "ACME_URL": "tls_acme_server"}
    exports = "".join(f"export {name}={settings[key]}\n" for name, key in names.items())
    exports += "export DEBIAN_FRONTEND=noninteractive"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for recipe in RECIPES.glob("*.sh"):
            archive.add(recipe, recipe.name)
    data = base64.b64encode(packed.getvalue()).decode()
    host.ssh(f"mkdir /root/servers; cd /root/servers; echo {data} | base64 -d | tar -xz; echo '{exports}' > settings")
    host.ssh("apt-get update -q; apt-get install -y -q --no-install-recommends python3")  # for the next
    state = (PROJECT / "tests/support/host_state.py").read_text()
    host.ssh(f"cat > /root/host_state.py <<'END_OF_FILE'\n{state}\nEND_OF_FILE")
    hosts.stop(host.name)
    snapshots.take(LABEL, host.name)
    yield host
    host.remove()


@pytest.fixture
def bare(untouched: LabHost) -> LabHost:
    """The fresh host, restored."""
    snapshots.restore(LABEL, untouched.name)
    return untouched


def make(host: LabHost, *recipes: str) -> None:
    """Do on the host what its earlier owner did."""
    for recipe in recipes:
        host.ssh(f". /root/servers/settings; bash -eu /root/servers/{recipe}.sh")


def state(host: LabHost) -> dict[str, str]:
    return dict(json.loads(host.ssh("python3 /root/host_state.py")))


def assert_refused(host: LabHost, lines: list[str], *arguments: str) -> None:
    """An apply reports exactly these obstacles, and changes nothing."""
    before = state(host)
    done = host.slipway("apply", "lab", "--yes", *arguments)
    told = [line.removeprefix("  - ") for line in done.stderr.splitlines() if line.startswith("  - ")]
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert [line for line in lines if not any(one.startswith(line) for one in told)] == [], done.stderr
    assert [one for one in told if not any(one.startswith(line) for line in lines)] == [], told
    assert state(host) == before


def test_what_slipway_would_not_keep_is_refused_by_name_all_at_once(bare: LabHost) -> None:
    make(bare, *REFUSED)
    assert_refused(bare, [line for lines in REFUSED.values() for line in lines])


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", [*REFUSED, *REFUSED_WITH_PACKAGES])
def test_a_server_is_refused_by_the_name_of_what_is_on_it(bare: LabHost, recipe: str) -> None:
    make(bare, recipe)
    assert_refused(bare, {**REFUSED, **REFUSED_WITH_PACKAGES}[recipe])


@pytest.mark.thorough
def test_neither_a_plan_nor_an_apply_writes_behind_a_link_in_nginxs_folder(bare: LabHost) -> None:
    make(bare, "nginx_linked_folders")
    before = bare.ssh("sha256sum /srv/config/vhosts/*")
    assert_refused(bare, ["/etc/nginx/sites-available: found a link"])
    assert bare.ssh("sha256sum /srv/config/vhosts/*") == before


@pytest.mark.thorough
def test_another_series_of_mongodb_is_refused(bare: LabHost) -> None:
    make(bare, "mongodb_password")
    # The lab's repository has one series.
    told = ["mongod: found version 6.0", "MongoDB's users: ", "mongodb_version: found '7.0'"]
    assert_refused(bare, told, "--data", "mongodb_version=7.0")


# --- What is kept ----------------------------------------------------------------------------------------------------

BLOG = "curl -sk -m 5 --resolve {0}:{1}:127.0.0.1 {2}://{0}/"
COUNT = 'print(db.getSiblingDB("{}").orders.countDocuments())'


def assert_adopted(host: LabHost, *arguments: str) -> None:
    host.apply(*arguments)
    assert host.plan(*arguments) == []
    verified = host.slipway("verify", "lab", *arguments)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.thorough
def test_another_default_site_stays_the_default(bare: LabHost) -> None:
    make(bare, "default_server")
    asked = "; ".join(
        BLOG.format(name, *way) for name in ("blog.example", "x.example") for way in ((80, "http"), (443, "https"))
    )
    before = bare.ssh(asked)
    assert before.splitlines() == ["the blog"] * 4
    assert_adopted(bare)
    assert bare.ssh(asked) == before
    bare.ssh("systemctl reload nginx; systemctl restart nginx")
    assert bare.ssh(asked) == before
    assert bare.ssh("grep -c blog /var/log/blog/access.log || :") != ""


@pytest.mark.thorough
def test_other_sites_stay(bare: LabHost) -> None:
    """Those of a Trellis server, and one that is proxied to a container."""
    make(bare, "trellis", "docker_behind")
    asked = "; ".join(BLOG.format(name, 80, "http") for name in ("blog.example", "shop.example"))
    nat = "iptables-save -t nat | grep -e ^-A"
    before = bare.ssh(f"{asked}; {nat}")
    assert "the blog" in before
    assert "Directory listing" in before
    assert_adopted(bare)
    assert bare.ssh(f"{asked}; {nat}") == before
    bare.ssh("systemctl restart nginx")
    assert bare.ssh(f"{asked}; {nat}") == before


@pytest.mark.thorough
def test_a_site_with_its_files_on_a_volume_stays(bare: LabHost) -> None:
    make(bare, "mnt_volume")
    assert_adopted(bare)
    bare.ssh("systemctl restart nginx")
    assert bare.ssh(BLOG.format("blog.example", 443, "https")) == "blog"


@pytest.mark.thorough
def test_a_site_whose_files_are_in_a_home_behind_a_link_stays(bare: LabHost) -> None:
    make(bare, "docroot_linked_home")
    asked = "curl -s -m 5 --resolve blog.example:80:127.0.0.1 http://blog.example/media/1.txt"
    assert bare.ssh(asked) == "picture"
    assert_adopted(bare)
    bare.ssh("systemctl restart nginx")
    assert bare.ssh(asked) == "picture"


@pytest.mark.thorough
def test_a_hardened_cloud_image_is_provisioned(bare: LabHost) -> None:
    make(bare, "cloud_image")
    assert_adopted(bare)
    assert bare.ssh("grep -c 127.0.1.1 /etc/hosts; findmnt -no OPTIONS /tmp | grep -o noexec") == "1\nnoexec"


@pytest.mark.thorough
def test_a_mongodb_with_another_data_folder_keeps_its_data_and_replica_set(bare: LabHost) -> None:
    make(bare, "mongodb_elsewhere")
    settings = {"mongodb_data": "/data/mongodb", "mongodb_replica_set": "orders", "mongodb_database": "test_database"}
    assert_adopted(bare, *(part for item in settings.items() for part in ("--data", "=".join(item))))
    assert bare.ssh(mongosh(f"{COUNT.format('test_database')}; print(rs.status().myState)")).split() == ["2", "1"]
    assert bare.ssh("ls -A /var/lib/mongodb") == ""


@pytest.mark.thorough
def test_a_mongodb_at_a_private_address_alone_keeps_its_data(bare: LabHost) -> None:
    make(bare, "mongodb_private_address")
    address = bare.record.address
    assert_adopted(bare, "--data", f"mongodb_bind={address}", "--data", "mongodb_database=test_database")
    assert bare.ssh(mongosh(COUNT.format("test_database"), address=address)) == "2"


@pytest.mark.thorough
def test_a_mongodb_with_options_of_its_own_keeps_its_data_and_its_socket(bare: LabHost) -> None:
    make(bare, "mongodb_options")
    options = {"storage.directoryPerDB": True, "operationProfiling.mode": "slowOp"}
    options |= {"net.unixDomainSocket.pathPrefix": "/srv/run"}
    assert_adopted(bare, "--data", "mongodb_port=27018", "--data", f"mongodb_settings={json.dumps(options)}")
    assert bare.ssh(mongosh(COUNT.format("codementee"), port=27018)) == "2"
    assert bare.ssh("ls /srv/run") == "mongodb-27018.sock"


@pytest.mark.thorough
def test_a_system_of_another_taste_is_planned_again_and_again_and_provisioned(bare: LabHost) -> None:
    make(bare, "odd_system")
    for _ in range(3):  # a login that fails counts for fail2ban
        assert bare.plan() != []
    assert bare.ssh("ls /var/log/nginx").split() == ["access.log", "error.log"]
    failures = bare.ssh("fail2ban-client status sshd | sed -n 's/.*Total failed:[^0-9]*//p'")
    assert int(failures) < 3, bare.ssh("journalctl -t sshd -o short --no-pager")
    time.sleep(31)  # its firewall refuses the sixth connection within half a minute
    assert_adopted(bare)
    assert bare.ssh("grep ^IPV6= /etc/default/ufw; ufw show added | grep -c limit || :").split() == ["IPV6=yes", "0"]


@pytest.mark.thorough
def test_half_a_site_a_linked_data_folder_and_certificates_by_dns_are_adopted(bare: LabHost) -> None:
    make(bare, "odd_names")
    asked = f"{BLOG.format('blog.example', 80, 'http')}; ss -Hltn sport = :15432 | wc -l"
    before = bare.ssh(asked)
    assert before.split() == ["the", "blog", "1"]
    assert_adopted(bare, "--data", "mongodb_data=/data/db")
    assert bare.ssh(mongosh(COUNT.format("codementee"))) == "2"
    assert bare.ssh(asked) == before
    lineages = {"codementee.conf", f"{bare.record.domain}-0001.conf.by-hand", "other.example.conf"}
    assert {*bare.ssh("ls /etc/letsencrypt/renewal").split()} == lineages


@pytest.mark.thorough
def test_masked_units_run_and_rules_with_comments_stay(bare: LabHost) -> None:
    make(bare, "ufw_comments", "ssh_socket")
    assert_adopted(bare)
    assert bare.ssh("systemctl is-active fail2ban certbot.timer ssh.socket").split() == ["active"] * 3
    assert bare.ssh("ufw show added | grep -c \"comment 'mine'\"") == "3"


@pytest.mark.thorough
def test_what_an_owner_has_switched_off_or_has_two_of_is_no_obstacle(bare: LabHost) -> None:
    """Services behind timers, groups of new users, PAM, a ban's time in a jail's section, and two ACME accounts."""
    make(bare, "apt_daily_masked", "login_defs", "certbot_two_accounts", "use_pam_no", "fail2ban_sshd_section")
    assert_adopted(bare)
    assert bare.ssh("systemctl is-active apt-daily.timer apt-daily-upgrade.timer").split() == ["active"] * 2
    assert bare.ssh("systemctl is-enabled apt-daily.service apt-daily-upgrade.service || :").split() == ["static"] * 2
    assert bare.ssh("id -gn codementee-backend; ls /etc/letsencrypt/renewal") == "codementee-backend\ncodementee.conf"


@pytest.mark.thorough
def test_an_apt_source_as_in_mongodbs_manual_does_not_break_apt(bare: LabHost) -> None:
    make(bare, "mongodb_manual")
    assert_adopted(bare)
    bare.ssh("apt-get update -q -o APT::Update::Error-Mode=any")
    assert bare.ssh("grep -c '^deb' /etc/apt/sources.list.d/mongodb-org-*.list || :") == "0"


@pytest.mark.thorough
def test_a_mongodb_with_access_control_is_adopted_with_its_administrators_password(
    bare: LabHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(bare, "mongodb_password")
    monkeypatch.setitem(bare.env, "SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "a7f3-kept-0c6a5d9e")
    assert_adopted(bare)
    assert bare.ssh(mongosh(COUNT.format("codementee"))) == "2"


@pytest.mark.thorough
def test_a_mongodb_with_access_control_is_looked_into_by_its_administrators_password(
    bare: LabHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(bare, "mongodb_closed_other_database")
    for password, told in (
        ("another one", "MongoDB's users: found 'refused' for the login of admin by MONGODB_ADMIN_PASSWORD"),
        ("a7f3-kept-0c6a5d9e", "database shop_prod: found 2 documents in it and none in codementee"),
    ):
        monkeypatch.setitem(bare.env, "SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", password)
        assert_refused(bare, [told])
        said = bare.slipway("plan", "lab", "-vv")
        assert password not in said.stdout + said.stderr
    assert_adopted(bare, "--data", "mongodb_database=shop_prod")
    assert bare.ssh(mongosh(COUNT.format("shop_prod"))) == "2"


@pytest.mark.thorough
def test_a_renewal_that_stops_nginx_ends_with_the_adoption(bare: LabHost) -> None:
    make(bare, "certbot_standalone")
    bare.ssh("rm -r /etc/letsencrypt/*/other.example*")
    assert_adopted(bare)
    assert bare.ssh("ls /etc/letsencrypt/renewal").split() == ["codementee.conf", f"{bare.record.domain}.conf.by-hand"]


@pytest.mark.thorough
def test_what_an_adoption_keeps_does_not_fail_a_verify(bare: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    make(bare, "port_8001", "before_rules", "nginx_log_modes", "failed_package_unit", "env_file_readable", "bans")
    asked = f"{BLOG.format('blog.example', 80, 'http')}; cat /etc/codementee.env; nft list table ip sshguard"
    before = bare.ssh(asked)
    monkeypatch.setitem(bare.env, "SLIPWAY_SECRET_STRIPE_KEY", "sk_live_51H8x0wnersS3cret")
    assert_adopted(bare, "--data", 'backend_secrets=["JWT_SECRET", "ADMIN_PASSWORD", "STRIPE_KEY"]')
    assert bare.ssh(asked) == before


@pytest.mark.thorough
def test_what_adopt_without_names_is_removed(bare: LabHost) -> None:
    make(bare, "public_service")
    assert_adopted(bare, "--data", 'adopt_without=["port 3000"]')
