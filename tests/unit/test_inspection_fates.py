"""The settings that match a server, and the fates by a plan with them."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.adoption import Obstacle, kernel, network
from slipway.engine.notes import Diff, Note
from slipway.engine.outcome import Change
from slipway.inspection import fates
from slipway.inspection.collect import known_of
from slipway.inspection.plan import Plan, Step, steps_of
from slipway.inspection.proposals import application, needed, option, proposals, settings_of, ssh_networks
from slipway.inspection.report import Certificate, DatabaseServer, Port, Report, Rule, Service, Site, Source, System
from slipway.settings.check import SettingsError, check
from slipway.settings.model import Settings
from support import recorded

ASIDE = "/var/backups/slipway/by-hand"
UNIT, SITE = "/etc/systemd/system/codementee-backend.service", "/etc/nginx/sites-enabled/codementee"
# Of a plan of the recorded server, what is about the things on it.
BY_HAND = Plan(
    [
        Step("adoption", "Back up the existing configuration", (f"{ASIDE}: {UNIT}, /etc/mongod.conf, /etc/nginx",)),
        Step("adoption", "Keep the existing certificate", ("/etc/nginx/tls/codementee -> /etc/nginx/ssl/c.pem",)),
        Step(
            "adoption",
            "Import the existing site as a release",
            ("/var/www/codementee/backend: kept as /var/www/codementee/backend.by-hand, served as a release",),
        ),
        Step("firewall", "Remove other firewall rules", ("- allow from 203.0.113.0/24 to any port 9000 proto tcp",)),
        Step("mongodb", "Configure MongoDB", ("/etc/mongod.conf: mode 644 -> 640",), ("/etc/mongod.conf",)),
        Step("backend", "Configure the backend", (), (UNIT,)),
        Step("nginx", "Configure Nginx", (f"{SITE} -> ../sites-available/codementee",), ("/etc/nginx/nginx.conf",)),
        Step("tls", "Get a certificate for byhand.test", ("certificate: there is none",)),
    ]
)


def told(report: Report, plan: Plan = BY_HAND, answers: dict[str, Any] | None = None, **given: Any) -> Report:
    """A report with its fates."""
    settings = settings_of(report.settings, given)
    fates.tell(report, known_of(answers or recorded.answers("by_hand"), settings, plan, has_site=True))
    return report


def verdict(thing: Any) -> str:
    assert thing.fate is not None
    return thing.fate.verdict


def test_the_settings_that_describe_a_server_are_found_with_their_places():
    found = {one.name: (one.value, one.where) for one in recorded.report().settings}
    assert found == {
        "site_domain": ("byhand.test", f"server_name in {SITE}"),
        "site_name": ("codementee", "the unit codementee-backend.service"),
        "backend_app": ("server:app", f"ExecStart in {UNIT}"),
        "mongodb_database": ("codementee", "the environment of codementee-backend.service"),
        "mongodb_version": (
            "6.0",
            "MongoDB 6.0.5",
        ),
        "timezone": ("Asia/Kolkata", "/etc/localtime"),
        "firewall_allow": (["8443/tcp"], "ufw show added"),
    }


def test_they_are_valid_settings():
    values = {one.name: one.value for one in recorded.report().settings}
    with pytest.raises(SettingsError) as error:
        check(values)
    wrong = {text.split(": ")[1] for text in error.value.problems}
    assert not wrong & {*values}, "only those that are the project's own are missing"


def empty(**changes: Any) -> Report:
    values = {"slipway_version": "1", "when": recorded.WHEN, "host": "h", "user": "root", "without_root": ""}
    return Report(**{**values, "system": System(), **changes})


def names(report: Report, sshd: dict[str, list[str]] | None = None) -> dict[str, Any]:
    return {one.name: one.value for one in proposals(report, sshd or {}, in_container=False)}


def nginx_site(*names: str, **changes: Any) -> Site:
    return Site(server="nginx", names=[*names], listen=["80"], file="/etc/nginx/sites-enabled/x", **changes)


def test_a_bare_server_tells_nothing():
    assert names(empty()) == {}


def test_the_name_without_www_is_the_sites_and_redirecting_names_are_aliases():
    site = nginx_site("www.shop.org", "shop.org", root="/srv")
    other = nginx_site("shop.net", redirect="https://shop.org$request_uri")
    found = names(empty(sites=[other, site]))
    assert (found["site_domain"], found["site_aliases"]) == ("shop.org", ["www.shop.org", "shop.net"])
    assert found["site_name"] == "x"


def test_the_site_with_the_backend_is_the_one():
    backend = Service(kind="systemd", name="api.service", command="uvicorn a.main:api --port 9", ports=["9/tcp"])
    blog = nginx_site("blog.org", proxies=[{"path": "/", "target": "http://127.0.0.1:3000"}])
    shop = nginx_site("shop.org", proxies=[{"path": "/api/", "target": "http://localhost:9"}])
    found = names(empty(sites=[blog, shop], services=[backend]))
    assert (found["site_domain"], found["backend_app"]) == ("shop.org", "a.main:api")


def test_a_backend_behind_a_socket_is_found_by_its_command_line_or_its_unit():
    site = nginx_site("shop.org", proxies=[{"path": "/", "target": "http://unix:/run/shop-backend.sock"}])
    idle = Service(kind="systemd", name="a.service", command="uvicorn old:app", state="inactive (dead), disabled")
    by_unit = Service(kind="systemd", name="shop-backend.service", command="uvicorn new:app --fd 3")
    by_path = Service(kind="systemd", name="x.service", command="uvicorn other:app --uds /run/shop-backend.sock")
    assert names(empty(sites=[site], services=[idle, by_unit]))["backend_app"] == "new:app"
    assert names(empty(sites=[site], services=[idle, by_path]))["backend_app"] == "other:app"
    running = by_unit.model_copy(update={"state": "active (running), enabled"})
    assert names(empty(services=[idle, running]))["backend_app"] == "new:app"


def test_what_slipway_has_put_there_is_kept():
    report = recorded.report()
    for thing in (report.services[0], report.sites[1], report.databases[0]):
        thing.by_slipway = True
    told(report)
    assert (verdict(report.services[0]), verdict(report.sites[1]), verdict(report.databases[0])) == ("keep",) * 3


@pytest.mark.parametrize(
    ("command", "app", "workers"),
    [
        ("/usr/local/bin/uvicorn server:app --host 0.0.0.0 --port 8001 --workers 4", "server:app", "4"),
        ("/srv/venv/bin/python -m uvicorn --factory app.main:create --port=8001", "app.main:create", ""),
        (
            "/srv/venv/bin/gunicorn -w 3 -k uvicorn.workers.UvicornWorker -b 0.0.0.0:8000 app.main:app",
            "app.main:app",
            "3",
        ),
        ("/usr/bin/node server.js", "", ""),
        ("/usr/bin/python3 -m http.server", "", ""),
        ("", "", ""),
    ],
)
def test_what_a_command_line_runs(command, app, workers):
    assert application(command) == app
    assert option(command, "--workers", "-w") == workers


def test_swap_ports_and_rules_of_the_server_are_settings():
    system = System(swap={"/swapfile": 2048}, timezone="Europe/Berlin", locale="en_GB.UTF-8")
    rules = ["allow from 203.0.113.0/24 to any port 2222 proto tcp", "allow 443/tcp", "allow 27017/tcp", "allow 3000"]
    firewall = {"active": True, "rules": [Rule(text=text) for text in rules]}
    databases = [DatabaseServer(kind="MongoDB", version="7.0.14", running=True, port=27017)]
    found = names(empty(system=system, firewall=firewall, databases=databases), {"port": ["2222"]})
    assert found == {
        "timezone": "Europe/Berlin",
        "locale": "en_GB.UTF-8",
        "swap_mb": 2048,
        "sshd_port": 2222,
        # A database is reached from the host alone.
        "firewall_allow": ["3000/tcp"],
        "firewall_ssh_from": ["203.0.113.0/24"],
    }


def test_what_a_plan_needs_to_keep_what_the_server_does_is_a_setting(settings_with):
    earlier = {"modules": "sctp", "uplinks": "ens3 0 0\nens4 0 0", "ignored": "DEFAULT 203.0.113.7 10.0.0.0/8"}
    settings = settings_with()
    obstacles = [
        *kernel.modules(earlier, settings),
        *kernel.uplinks(earlier, settings),
        *network.bans(earlier, settings),
        Obstacle("database old", "2 documents", 'mongodb_database = "old"'),
    ]
    found = needed([str(one) for one in obstacles])
    assert [(one.name, one.value, one.where) for one in found.values()] == [
        ("loadable_modules", ["sctp"], "kernel modules sctp"),
        ("rp_filter", 2, "net.ipv4.conf.all.rp_filter"),
        ("fail2ban_ignore", ["203.0.113.7/32", "10.0.0.0/8"], "fail2ban: ignoreip"),
    ]


def test_a_partition_of_the_providers_is_no_swap_file():
    assert names(empty(system=System(swap={"/dev/vda2": 512}))) == {"swap_mb": 0}
    assert names(empty(system=System(swap={"/swapfile": 1024}))) == {}


@pytest.mark.parametrize("rule", ["allow 22/tcp", "allow OpenSSH", "limit 22", "limit 22/tcp"])
def test_ssh_that_is_open_to_all_has_no_networks(rule):
    assert ssh_networks([rule, "allow from 10.0.0.0/8 to any port 22 proto tcp"], ["22"]) == []


def test_each_thing_is_reported_by_the_steps_that_touch_it():
    report = told(recorded.report())
    assert {site.names[0]: verdict(site) for site in report.sites} == {
        "blog.example.org": "keep",
        "byhand.test": "replace",
        "old.example.org": "remove",
    }
    assert {one.name: verdict(one) for one in report.services} == {
        "codementee-backend.service": "adopt",
        "listener.service": "keep",
        "worker.service": "keep",
        "mongod.service": "keep",
        "api": "keep",
        "queue": "keep",
    }
    assert {user.name: verdict(user) for user in report.users} == {
        "root": "remove",
        "lab": "keep",
        "deploy": "keep",
        "eve": "remove",
    }
    assert {port.port: verdict(port) for port in report.ports} == {
        **dict.fromkeys([22, 80, 443, 8443, 9999, 27017], "keep"),
        8001: "replace",
        9000: "remove",
    }
    assert [verdict(rule) for rule in report.firewall.rules] == ["keep", "keep", "keep", "keep", "remove"]
    assert [verdict(one) for one in report.databases] == ["adopt"]
    assert f"copy in {ASIDE}" in report.databases[0].fate.reason
    by_name = {one.names[0]: one.fate for one in report.certificates}
    assert by_name["byhand.test"].reason == "served until certbot has obtained Slipway's"
    assert by_name["blog.example.org"].verdict == "keep"


def test_what_no_step_touches_stays():
    report = told(recorded.report(), Plan())
    things = [*report.sites, *report.services, *report.databases, *report.certificates, *report.jobs, *report.disks]
    assert {verdict(thing) for thing in things} == {"keep"}


def test_a_site_that_serves_other_names_with_the_same_file_is_told_to_end():
    report = told(recorded.report())
    old = next(site for site in report.sites if site.names == ["old.example.org"])
    assert old.fate.reason.endswith(", and old.example.org will not be served")


def with_files(text: str) -> tuple[Report, dict[str, Any]]:
    answers = {**recorded.answers("by_hand"), "web": text}
    return recorded.report(web=text), answers


def test_a_file_that_slipways_nginx_does_not_include_ends():
    text = """\
# configuration file /etc/nginx/nginx.conf:
http { include vhosts/*; server { server_name inline.org; } }
# configuration file /etc/nginx/vhosts/a:
server { server_name a.org; }
# configuration file /etc/nginx/vhosts/b:
server { server_name b.org; }
# certificates:
"""
    report, answers = with_files(text)
    plan = Plan([Step("nginx", "Configure Nginx", (), ("/etc/nginx/nginx.conf",))])
    told(report, plan, answers)
    assert [(site.names, verdict(site)) for site in report.sites] == [
        (["a.org"], "replace"),  # the site that the settings are about
        (["b.org"], "remove"),
        (["inline.org"], "remove"),
    ]


def test_another_default_server_stays():
    text = """\
# configuration file /etc/nginx/nginx.conf:
http { include conf.d/*.conf; }
# configuration file /etc/nginx/conf.d/a.conf:
server { listen 80 default_server; server_name a.org; }
# configuration file /etc/nginx/conf.d/b.conf:
server { listen 8080 default_server; server_name b.org; }
# certificates:
"""
    report, answers = with_files(text)
    told(report, Plan(), answers)
    assert [(site.names, verdict(site)) for site in report.sites] == [(["a.org"], "keep"), (["b.org"], "keep")]


def test_what_an_apply_would_not_keep_is_refused_in_the_plans_words():
    lines = [
        "/etc/nginx/sites-enabled/codementee: server old.example.org: found it in a file that Slipway replaces",
        "/etc/mongod.conf: storage.dbPath: found '/data', need mongodb_data",
        "user eve: found a password and no key",
        "ufw allow from 203.0.113.0/24 to any port 9000 proto tcp: found a rule for some addresses",
    ]
    report = recorded.report()
    report.firewall.rules[-1].text += " comment 'the office'"
    told(report, Plan(refusals=lines))
    refused = {site.file for site in report.sites if verdict(site) == "refuse"}
    assert refused == {SITE}
    assert verdict(report.databases[0]) == "refuse"
    assert [user.name for user in report.users if verdict(user) == "refuse"] == ["eve"]
    assert [verdict(rule) for rule in report.firewall.rules] == [*["keep"] * 4, "refuse"]


def test_a_database_elsewhere_on_the_disk_is_told_to_stay_there_unused():
    report = recorded.report()
    (mongodb,) = report.databases
    mongodb.data_folder, mongodb.replica_set = "/srv/mongo", "orders"
    told(report)
    assert mongodb.fate.verdict == "replace"
    assert "the data in /srv/mongo stays there, unused" in mongodb.fate.reason
    assert "the replica set orders is not configured any more" in mongodb.fate.reason


def test_ports_that_one_line_is_about_are_refused_each():
    report = recorded.report()
    report.ports = [
        Port(port=port, protocol="tcp", addresses=["0.0.0.0"], versions=[4], program="x") for port in (2, 25)
    ]
    told(report, Plan(refusals=["ports 25, 143: found a container's port, need firewall_allow"]))
    assert [port.port for port in report.ports if verdict(port) == "refuse"] == [25]


REFUSALS = [
    "memory: found 512 MiB, need 900 MiB (choose a larger server)",
    "port 80: found 'apache2' listening, need it for nginx (stop or move apache2)",
    "mongodb_version: found '4.4'; for Debian 12 MongoDB has 7.0, 8.0",
    "site_domain: found byhand.test at 203.0.113.9, need this host's 10.213.3.10",
    "free disk space on /: found 100 MiB, need 500 MiB",
]


def test_what_preflight_refuses_is_reported_with_the_thing_that_is_in_the_way():
    report = recorded.report()
    report.ports.append(Port(port=80, protocol="udp", addresses=["0.0.0.0"], versions=[4], program="x"))
    report.sites.append(Site(server="apache2", names=["x.org"], listen=[], file="/etc/apache2/x"))
    told(report, Plan(BY_HAND.steps, REFUSALS))
    assert report.refusals == REFUSALS
    assert report.system.fate.reason == REFUSALS[0]
    held = [port.port for port in report.ports if verdict(port) == "refuse"]
    assert held == [80, 80]
    assert {site.names[0] for site in report.sites if verdict(site) == "refuse"} == {"byhand.test", "x.org"}
    assert (verdict(report.databases[0]), verdict(report.disks[0])) == ("refuse", "refuse")


def test_where_there_is_no_plan_only_what_refuses_is_reported():
    report = told(recorded.report(), Plan(refusals=REFUSALS[:1], is_known=False))
    assert verdict(report.system) == "refuse"
    assert {thing.fate for thing in [*report.sites, *report.services, *report.users, *report.firewall.rules]} == {None}


def test_a_second_entry_of_mongodbs_repository_with_another_key_stops_the_apply():
    report = recorded.report()
    url, file = "https://repo.mongodb.org/apt/debian", "/etc/apt/sources.list.d/mongodb-org-7.0.list"
    report.packages.sources = [
        Source(url=url, origin="mongodb", file=file, signed_by="/usr/share/keyrings/mongodb-server-7.0.gpg"),
        Source(url="https://repo.example.org/apt", origin="Example", file="/etc/apt/sources.list.d/example.list"),
    ]
    told(report)
    assert [verdict(source) for source in report.packages.sources] == ["refuse", "keep"]
    assert f"remove {file}" in report.packages.sources[0].fate.reason


def certificate(path: str) -> Certificate:
    return Certificate(path=path, issuer="x", names=["byhand.test"], end=recorded.WHEN, days_left=9, self_signed=False)


def test_a_certificate_that_the_plan_does_not_keep_is_followed_by_a_placeholder():
    report = recorded.report()
    report.sites[1].certificate = "/etc/ssl/other.pem"
    report.certificates = [
        certificate("/etc/ssl/other.pem"),
        certificate("/etc/letsencrypt/live/codementee/fullchain.pem"),
    ]
    told(report)
    assert "a self-signed one is served until" in report.certificates[0].fate.reason
    assert report.certificates[1].fate.reason.startswith("served until certbot has obtained")


def test_a_setting_that_is_given_wins():
    report = told(recorded.report(), firewall_allow=["9000/tcp"])
    assert {port.port: verdict(port) for port in report.ports if port.port in (8443, 9000)} == {
        8443: "remove",
        9000: "keep",
    }


def test_settings_that_describe_a_server_need_no_project():
    settings = settings_of([], {})
    assert isinstance(settings, Settings)
    assert (settings.backend_unit, settings.secrets) == ("site-backend", {})


def test_a_plan_becomes_steps():
    notes = [Note("/etc/x: new\n/etc/y: removed"), Diff("--- /etc/z\n+++ /etc/z\n@@\n+a")]
    plan = Plan([*steps_of([Change("h", "Do it", notes, component="base")])])
    assert [(step.operation, line) for step, line in plan.touching("/etc/y")] == [("Do it", "/etc/y: removed")]
    assert [line for _, line in plan.touching("/etc/z")] == [""]
    assert [*plan.touching("/etc/yy", "/etc")] == []


def test_a_system_without_packages_of_mongodb_gets_those_of_the_release_before():
    assert names(empty(system=System(title="Debian GNU/Linux 13 (trixie)"))) == {"mongodb_apt_suite": "bookworm"}
    assert names(empty(system=System(title="Debian GNU/Linux 12 (bookworm)"))) == {}
