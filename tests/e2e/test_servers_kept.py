"""Servers as their earlier owners left them (tests/servers): what is on them stays."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import requests

from support.as_found import assert_adopted, assert_refused, make, restored, untouched_host
from support.lab_host import LabHost, mongosh

BLOG = "curl -sk -m 5 --resolve {0}:{1}:127.0.0.1 {2}://{0}/"
COUNT = 'print(db.getSiblingDB("{}").orders.countDocuments())'


@pytest.fixture(scope="module")
def untouched() -> Iterator[LabHost]:
    with untouched_host("kept") as host:
        yield host


@pytest.fixture
def bare(untouched: LabHost) -> LabHost:
    """The fresh host, restored."""
    return restored(untouched)


@pytest.mark.thorough
def test_another_default_site_stays_the_default(bare: LabHost) -> None:
    make(bare, "default_server")
    asked = "; ".join(
        BLOG.format(name, *way) for name in ("blog.example", "x.example") for way in ((80, "http"), (443, "https"))
    )
    before = bare.ssh(asked)
    assert before.splitlines() == ["the blog"] * 4
    character_set = " -o /dev/null -w '%{content_type}'"
    assert bare.ssh(BLOG.format("blog.example", 80, "http") + character_set) == "text/html"
    assert_adopted(bare)
    assert bare.ssh(asked) == before
    # That of Slipway's own sites is not another site's.
    assert bare.ssh(BLOG.format("blog.example", 80, "http") + character_set) == "text/html"
    own = bare.ssh(BLOG.format(bare.data["site_domain"], 443, "https") + character_set)
    assert own == "text/html; charset=utf-8"
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


class Visitor(threading.Thread):
    """Asks for the page by http in a loop and follows a redirect to https, whose certificate must be valid."""

    def __init__(self, host: LabHost) -> None:
        super().__init__(daemon=True)
        self.site, self.ended = host.site(), threading.Event()
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            said = self.ask()
            # A reload closes kept connections, and a request may be on its way: browsers repeat it.
            self.seen[self.ask() if said == "ConnectionError" else said] += 1

    def ask(self) -> str:
        try:
            answer = self.site.get_plain("/")
            if answer.status_code == 301:
                return f"301 {self.site.get('/').status_code}"
            return str(answer.status_code)
        except requests.RequestException as error:
            return type(error).__name__

    def stop(self) -> Counter[str]:
        self.ended.set()
        self.join()
        return self.seen


@pytest.mark.thorough
def test_a_site_without_https_stays_up_until_it_has_a_certificate(bare: LabHost) -> None:
    make(bare, "http_only")
    others = "curl -s -m 5 -H 'Host: www.blog.example' http://127.0.0.1/"
    visitor = Visitor(bare)
    visitor.start()
    done = bare.slipway("apply", "lab", "--yes", "--data", "tls_acme_server=https://127.0.0.1:1/dir")
    assert done.returncode == 1, done.stdout
    assert "certbot got no certificate" in done.stderr
    answer = bare.site().get_plain("/")
    assert answer.status_code == 200
    assert "Strict-Transport-Security" not in answer.headers
    assert bare.site().get_plain("/api/health").status_code == 200
    assert visitor.seen.keys() == {"200"}
    assert "Redirect http to https" in bare.operations()
    assert_adopted(bare)
    assert visitor.stop().keys() == {"200", "301 200"}
    assert bare.ssh(others) == "the blog"
    bare.ssh("systemctl restart nginx")
    assert bare.ssh(others) == "the blog"


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
    before = bare.ssh("cat /etc/login.defs")
    assert_adopted(bare)
    assert bare.ssh("cd /var/backups/slipway/by-hand/etc; ls ssh/sshd_config; cat login.defs").endswith(before)
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
    settings = {"mongodb_bind": address, "mongodb_database": "test_database", "adopt_without": '["port 27017"]'}
    assert_adopted(bare, *(part for item in settings.items() for part in ("--data", "=".join(item))))
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
    # By one connection: its firewall refuses the sixth within half a minute.
    count = "fail2ban-client status sshd | sed -n 's/.*Total failed:[^0-9]*//p'"
    *logs, failures = bare.ssh(f"ls /var/log/nginx; {count}").split()
    assert (logs, int(failures) < 3) == (["access.log", "error.log"], True), failures
    time.sleep(31)
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
def test_jails_of_others_and_a_host_certificate_stay(bare: LabHost) -> None:
    make(bare, "fail2ban_others", "host_certificate")
    asked = "for what in bantime findtime ignoreip actions; do fail2ban-client get shop $what; done"
    before = bare.ssh(asked)
    assert_refused(bare, ["fail2ban: ignoreip: found 203.0.113.10/32, office.example.org, which would be banned"])
    spared = ("--data", 'fail2ban_ignore=["203.0.113.10", "office.example.org"]')
    assert_adopted(bare, *spared)
    assert bare.ssh(asked) == before
    ban = "fail2ban-client set shop banip 198.51.100.7; until ufw status | grep 198.51.100.7; do sleep 0.2; done"
    assert "REJECT" in bare.ssh(f"{{ {ban}; }} | tail -n 1")
    assert bare.plan(*spared) == []
    verified = bare.slipway("verify", "lab", *spared)
    assert verified.returncode == 0, verified.stdout
    options = "-F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/trusted"
    assert "Permission denied" in bare.ssh(f"ssh {options} -i /dev/null nobody@localhost true 2>&1 || :")


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
def test_a_mongodb_that_forks_by_its_configuration_is_adopted_and_not_one_that_forks_by_its_unit(
    bare: LabHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(bare, "mongodb_forking")
    monkeypatch.setitem(bare.env, "SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "a7f3-kept-0c6a5d9e")
    assert_refused(bare, ["mongod.service: --fork: found '/usr/bin/mongod --config /etc/mongod.conf --fork"])
    unit = "/etc/systemd/system/mongod.service"
    bare.ssh(f"sed -i 's/ --fork$//' {unit}; sed -i 's/^processManagement:/&\\n  fork: true/' /etc/mongod.conf")
    bare.ssh("systemctl daemon-reload; systemctl restart mongod")
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
def test_another_certbot_a_job_that_renews_and_a_long_journal_stay(bare: LabHost) -> None:
    """The other certbot comes first in PATH, and does nothing here."""
    make(bare, "snap_certbot")
    assert_adopted(bare)
    assert {*bare.ssh("ls /snap/bin /etc/cron.d").split()} >= {"certbot", "renew", "backup"}
    assert "* nginx" in bare.ssh("/usr/bin/certbot plugins 2> /dev/null")
    assert "other.example.conf" in bare.ssh("ls /etc/letsencrypt/renewal").split()
    assert bare.ssh("ls /var/log/journal/*/old") != ""


@pytest.mark.thorough
def test_what_an_adoption_keeps_does_not_fail_a_verify(bare: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    make(bare, "port_8001", "before_rules", "nginx_log_modes", "failed_package_unit", "env_file_readable", "bans")
    asked = f"{BLOG.format('blog.example', 80, 'http')}; cat /etc/codementee.env; nft list table ip sshguard"
    asked += "; iptables-save -t filter | grep -E '^-A ufw-before-input .*(wg0|5432|8443)'"
    before = bare.ssh(asked)
    monkeypatch.setitem(bare.env, "SLIPWAY_SECRET_STRIPE_KEY", "sk_live_51H8x0wnersS3cret")
    assert_adopted(bare, "--data", 'backend_secrets=["JWT_SECRET", "ADMIN_PASSWORD", "STRIPE_KEY"]')
    assert bare.ssh(asked) == before


@pytest.mark.thorough
def test_what_adopt_without_names_is_removed(bare: LabHost) -> None:
    make(bare, "public_service")
    assert_adopted(bare, "--data", 'adopt_without=["port 3000", "port 9090", "port 34197/udp", "protocol vrrp"]')


@pytest.mark.thorough
def test_what_an_owner_adds_after_the_adoption_is_refused_by_name_or_kept(bare: LabHost) -> None:
    assert_adopted(bare)
    make(bare, "later_vhost")
    asked = BLOG.format("blog.example", 80, "http")
    assert bare.ssh(asked) == "the blog"
    file = "/etc/nginx/conf.d/extra.conf"
    both = [f"{file}: server blog.example: found it in a file that", f"{file}:2: listen 8443: found the site on"]
    assert_refused(bare, both)
    shop = {"site_name": "shop", "site_domain": f"shop.{bare.data['site_domain']}"}
    bare.resolve(shop["site_domain"])
    sites = ("--data", f"sites={json.dumps([shop])}")
    assert_refused(bare, [*both, "shop-backend.service: STRIPE_KEY: found this variable"], *sites)
    # The other site in a file of its own; of the site nothing but a second block.
    bare.ssh(f"sed -n 1p {file} > /etc/nginx/conf.d/blog.conf; sed -i '1d; s/listen 8443; //' {file}")
    text = bare.ssh(f"cat {file}")
    assert_adopted(bare)
    assert bare.ssh(asked) == "the blog"
    assert bare.ssh(f"[ ! -e {file} ] && cat /var/backups/slipway/*{file}") == text
