"""Adoption in deploy.py: what is refused, what is kept, and an order of changes in which every site answers wherever an
apply stops."""

from __future__ import annotations

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway import deploy
from slipway.adoption.nginx import Found
from slipway.adoption.nginx_config import Tree
from slipway.engine import run
from slipway.facts.earlier import Earlier
from slipway.facts.files import FileState
from slipway.facts.mongodb import MongodbData
from slipway.facts.nginx import NginxFuture, NginxInForce
from slipway.facts.ssh import Sshd
from slipway.tasks import mongodb
from slipway.tasks.firewall import InputRules, UfwFiles
from support.described import described, run_deploy
from support.obstacles import SERVICE

MAIN = "/etc/nginx/nginx.conf"
MONGOD = "exe=/usr/bin/mongod\nunit=mongod.service\nuser=mongodb\ncommand=/usr/bin/mongod --config /etc/mongod.conf"
# What sshd says for itself, or it would be one more obstacle.
SSHD = {Sshd: {"port": ["22"], "authorizedkeysfile": [".ssh/authorized_keys"]}}


def nginx(*servers: str, main: str = "") -> Found:
    files = {MAIN: f"{main} http {{ include conf.d/*.conf; }}"}
    files |= {f"/etc/nginx/conf.d/{number}.conf": text for number, text in enumerate(servers)}
    dump = "".join(f"# configuration file {name}:\n{text}\n" for name, text in files.items())
    return Found(Tree(dump), "", frozenset([MAIN]))


BLOG = "server { listen 80 default_server; server_name blog.example; root /home/blog; access_log /srv/log/blog; }"
PROXY = "server { server_name codementee.io; location /api/ { proxy_pass http://localhost:8001; } }"
# A file that is in no configuration in force.
FUTURE = f"# configuration file {MAIN}:\nhttp {{ include conf.d/*.conf; include sites-enabled/*; }}\n"
FUTURE += f"# configuration file /etc/nginx/conf.d/0.conf:\n{BLOG}\n"
FUTURE += "# configuration file /etc/nginx/sites-enabled/away:\nserver { server_name away.example; }\n"
SHOP = "server { listen 80; server_name codementee.io; }"
OPEN = "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in"
PRIVATE = "### tuple ### allow tcp 5432 0.0.0.0/0 any 10.0.0.5 in"


def refused(settings, answers) -> str:
    """The error for a host with these facts, "" if it is accepted."""
    with described(settings) as (server, host):
        host.answers = SSHD | answers
        try:
            run_deploy()
        except PyinfraError as error:
            assert server.operations == []
            return str(error)
    return ""


def adopted(settings, answers):
    with described(settings) as (server, host):
        host.answers = SSHD | answers
        run_deploy()
    return server


def data(**changes):
    options = {"storage": {"dbPath": "/var/lib/mongodb"}, "net": {"bindIp": "127.0.0.1"}}
    return {"state": "open", "options": options, "version": "7.0.1", "documents": {"codementee": 2}, **changes}


# --- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({Earlier: {"groups": "codementee-backend:x:5:"}}, "group codementee-backend"),
        ({Earlier: {"listeners": "0.0.0.0:3000 node blog.service"}}, "port 3000"),
        (
            {Earlier: {"jobs": "/etc/cron.d/x:1 1 * * * root nginx -s stop"}},
            "/etc/cron.d/x: 1 1 * * * root nginx -s stop",
        ),
        ({Earlier: {"file /etc/sysctl.conf": "kernel.sysrq = 1"}}, "/etc/sysctl.conf: kernel.sysrq"),
        ({Earlier: {"mounts": "/srv/data"}}, "reboot: /srv/data"),
        ({Earlier: {"packages": "netfilter-persistent"}}, "package netfilter-persistent"),
        (
            {
                Earlier: {"packages": "iptables-persistent netfilter-persistent"},
                InputRules: ["-A INPUT -p tcp --dport 22 -j ACCEPT", "-A INPUT -j REJECT"],
            },
            "package netfilter-persistent",
        ),
        (
            {Earlier: {"x": ""}, UfwFiles: ["ENABLED=yes", OPEN, PRIVATE]},
            "ufw allow from 10.0.0.5 to any port 5432 proto tcp",
        ),
        ({Earlier: {"x": ""}, UfwFiles: ["ENABLED=yes"], InputRules: ["-A INPUT -j ts-input"]}, "ufw: ssh"),
        ({Earlier: {"mongod": MONGOD}, MongodbData: data(documents={"other": 1})}, "database other"),
        ({Earlier: {"mongod": MONGOD}, MongodbData: data(), "readlink -f": "/mnt/db"}, "/var/lib/mongodb"),
        ({Earlier: {"mongod": MONGOD}, MongodbData: data(), "stat -c %U": "root"}, "/var/lib/mongodb/WiredTiger"),
        ({Earlier: {"mongod": MONGOD}, MongodbData: {}}, "python3"),
        ({Earlier: {"nginx": "exe=/opt/nginx/nginx"}}, "Nginx"),
        ({Earlier: {"nginx": "nginx=installed"}}, "package nginx"),
        ({Earlier: {"nginx": "unpackaged=/usr/sbin/nginx"}}, "/usr/sbin/nginx"),
        ({Earlier: {"nginx": "exe=/usr/sbin/nginx\nunit="}}, "Nginx"),
        ({Earlier: {"nginx": "exe=/usr/sbin/nginx\nunit=nginx.service\ncommand=nginx -c /srv/n.conf"}}, "Nginx"),
        ({Earlier: {"listeners": "0.0.0.0:80 nginx "}}, "port 80"),
        ({Earlier: {"stopped": "apache2.service"}}, "apache2.service"),
        (
            {Earlier: {"file /etc/systemd/system/nginx.service.d/own.conf": "[Service]\nExecStartPre=/srv/mount\n"}},
            "/etc/systemd/system/nginx.service.d/own.conf",
        ),
        (
            {Earlier: {"x": ""}, NginxInForce: nginx(BLOG), NginxFuture: (Tree(FUTURE), "")},
            "/etc/nginx/sites-enabled/away",
        ),
        ({"/proc/sys/net/ipv6": "off"}, "IPv6"),
        ({Earlier: {"listeners": "127.0.0.1:8001 python3 api.service"}, NginxInForce: nginx(PROXY)}, "api.service"),
        (
            {
                Earlier: {"local": "/run/api.sock gunicorn api.service"},
                NginxInForce: nginx(PROXY.replace("localhost:8001", "unix:/run/api.sock")),
            },
            "api.service",
        ),
        (
            {
                Earlier: {"listeners": "127.0.0.1:8001 python3 codementee-backend.service"},
                NginxInForce: nginx(
                    "server { listen 80 default_server; location / { proxy_pass http://127.0.0.1:8001; } }"
                ),
            },
            "/etc/nginx/conf.d/0.conf: server without a name",
        ),
        (
            {Earlier: {"x": ""}, NginxInForce: nginx("server { listen 1.2.3.4:80; server_name a.example; }")},
            "/etc/nginx/conf.d/0.conf:1: listen 1.2.3.4:80",
        ),
        ({Earlier: {"x": ""}, NginxInForce: nginx(BLOG), NginxFuture: (Tree(""), "unknown directive")}, "Nginx"),
        (
            {Earlier: {"x": ""}, NginxInForce: nginx("gzip on;"), NginxFuture: (Tree(""), "gzip is duplicate")},
            "/etc/nginx/conf.d/0.conf:1: gzip",
        ),
        ({Earlier: {"programs /var/www/codementee": "supervisor.service celery"}}, "supervisor.service"),
        ({Earlier: {"callers /var/www/codementee": "8001 at *:8001"}}, f"port 8001 of {SERVICE}"),
        ({Earlier: {"peers": "10.0.0.7", "file /etc/mongod.conf": ""}}, "MongoDB's client 10.0.0.7"),
        ({Earlier: {"x": ""}, Sshd: {"port": ["22"], "allowusers": ["root"]}}, "sshd: AllowUsers"),
        (
            {
                Earlier: {"immutable": "/etc/nginx/conf.d/0.conf /etc/nginx/conf.d/1.conf"},
                NginxInForce: nginx(BLOG, SHOP),
            },
            "/etc/nginx/conf.d/1.conf",
        ),
        ({Earlier: {"x": ""}, "fail2ban-server -t": "2026 fail2ban [9]: ERROR   Failed during x: No log"}, "fail2ban"),
        # Of any server, at any time.
        (
            {"after slipway.conf": "/etc/systemd/system/nginx.service.d/zz.conf:ProtectSystem=no"},
            "/etc/systemd/system/nginx.service.d/zz.conf: ProtectSystem=no",
        ),
        ({InputRules: ["-A INPUT -j REJECT"]}, "iptables -A INPUT -j REJECT"),
    ],
)
def test_what_slipway_would_not_keep_is_refused_before_any_change(settings_with, answers, name):
    said = refused(settings_with(), answers)
    assert f"  - {name}: found " in said, said
    assert said.count("  - ") == 1


def test_rules_of_ufws_whose_effect_stays_are_no_obstacles(settings_with):
    listening = {"listeners": "0.0.0.0:19999 netdata x.service\n0.0.0.0:5432 postgres x.service"}
    on_tailscale = "### tuple ### allow any any 0.0.0.0/0 any 0.0.0.0/0 in_tailscale0"
    before = {"before": "-A ufw-before-input -s 10.0.0.5 -j ACCEPT"}
    found = {InputRules: ["-A INPUT -j ts-input"], UfwFiles: ["ENABLED=yes", OPEN, PRIVATE, on_tailscale]}
    assert refused(settings_with(), {Earlier: {**listening, **before}, **found}) == ""


def test_what_adopt_without_names_is_given_up(settings_with):
    found = {Earlier: {"listeners": "0.0.0.0:3000 node blog.service"}}
    assert refused(settings_with(adopt_without=["port 3000"]), found) == ""
    assert refused(settings_with(firewall_allow=["3000/tcp"]), found) == ""


def test_a_server_without_obstacles_is_accepted(settings_with):
    callers = {"callers /var/www/codementee": "8001 at 0.0.0.0:8001"}
    found = {Earlier: {"mongod": MONGOD, **callers}, MongodbData: data()}
    found[NginxInForce] = nginx(BLOG, SHOP, f"map x $api {{ default http://localhost:8001; }} {PROXY}")
    assert refused(settings_with(), found) == ""


def test_a_server_is_adopted_once(settings_with):
    found = {Earlier: {"listeners": "0.0.0.0:3000 node blog.service"}}
    complete = {"kind": "regular file", "owner": "root", "group": "root", "mode": "644"}
    assert refused(settings_with(), found | {FileState: complete}) == ""
    # Whichever components it has, it has a sign at its end that it was.
    assert [one.name for one in adopted(settings_with(), {}).operations][-1] == "Start auditd"
    with described(settings_with()) as (server, host):
        host.answers = SSHD
        deploy.server("base", "guard", "admin", "ssh")
    assert server.operations[-1].name == "Note that the server is adopted"


COMPLETE = {FileState: {"kind": "regular file", "owner": "root", "group": "root", "mode": "644"}}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"{SHOP} server {{ server_name blog.example; }}", "/etc/nginx/conf.d/0.conf: server blog.example"),
        (
            "server { listen 8443; server_name codementee.io; }",
            "/etc/nginx/conf.d/0.conf:1: listen 8443",
        ),
        (
            "server { server_name codementee.io; location /hooks/ { proxy_pass http://127.0.0.1:9000; } }",
            "/etc/nginx/conf.d/0.conf:1: location /hooks/",
        ),
        (SHOP, ""),
        (BLOG, ""),
    ],
)
def test_what_a_file_does_that_goes_after_the_adoption_is_named(settings_with, text, name):
    said = refused(settings_with(), COMPLETE | {NginxInForce: nginx(text)})
    assert (f"  - {name}: found " in said and said.count("  - ") == 1) if name else said == ""
    if name:
        assert refused(settings_with(adopt_without=[name]), COMPLETE | {NginxInForce: nginx(text)}) == ""


def test_a_site_that_is_added_later_is_adopted_as_the_first_one_was(settings_with):
    found = COMPLETE | {Earlier: {f"unit {SERVICE}": "path=/lib/systemd/system/x.service"}}
    assert refused(settings_with(), found) == ""
    by_hand = {"$unit-by-hand.service": "the service codementee-backend\n"}
    assert f"  - unit {SERVICE}: found it in /lib" in refused(settings_with(), found | by_hand)


def test_data_of_a_site_that_is_added_later_are_looked_for_in_slipways_mongodb(settings_with):
    settings = settings_with(sites=[{"site_name": "shop", "site_domain": "shop.codementee.io"}])
    found = COMPLETE | {"$unit-by-hand.service": "/var/www/shop/backend\n"}
    written = "/etc/codementee/credentials/MONGODB_ADMIN_PASSWORD"
    found[Earlier] = {"mongod": MONGOD, "credentials": written}
    closed = data(state="closed", login="accepted", documents={"prod": 2})
    said = refused(settings, found | {MongodbData: closed})
    # The first site's database is empty, too, and was when it was adopted.
    assert 'database prod: found 2 documents in it and none in shop, need mongodb_database = "prod"' in said
    assert said.count("  - ") == 1
    for answer in (data(state="away"), closed | {"login": "refused"}, closed | {"documents": {"shop": 1, "prod": 2}}):
        assert refused(settings, found | {MongodbData: answer}) == ""


def test_a_server_that_has_the_site_by_a_pattern_is_told_its_name(settings_with):
    found = {Earlier: {"listeners": "127.0.0.1:8001 python3 codementee-backend.service"}}
    found[NginxInForce] = nginx("server { server_name ~codementee; location / { proxy_pass http://127.0.0.1:8001; } }")
    assert "need server_name codementee.io, or its program in a unit of another name" in refused(settings_with(), found)


# --- Other sites -----------------------------------------------------------------------------------------------------


def test_another_site_stays_the_default_one_and_gets_what_it_needs(settings_with):
    server = adopted(settings_with(), {NginxInForce: nginx(BLOG, SHOP)})
    tree = server.about("/etc/nginx")
    default = tree.arguments["files"]["sites-available/default"]
    assert "listen 80 default_server" not in default
    assert "listen [::]:80 default_server" in default
    assert "listen 443 ssl http2 default_server" in default
    assert tree.arguments["removed"] == ["/etc/nginx/conf.d/1.conf"]
    limits = server.about("/etc/systemd/system/nginx.service.d/slipway.conf").arguments["content"]
    assert "ReadWritePaths=-/srv/log" in limits
    assert "ProtectHome=read-only" in limits
    restarts = [one for one in server.all("restart") if one.subject == "nginx.service"]
    observed = [one.arguments["observed"] for one in restarts if "observed" in one.arguments]
    assert len(observed) == 2
    assert all("blog.example:80" in script for script in observed)


def test_without_other_sites_nginx_is_configured_as_usual(settings_with):
    server = adopted(settings_with(), {})
    files = server.about("/etc/nginx").arguments["files"]
    assert files["sites-available/default"].count("default_server;") == 4
    limits = server.about("/etc/systemd/system/nginx.service.d/slipway.conf").arguments["content"]
    assert "ProtectHome=yes\nPrivateTmp=yes\n" in limits
    assert "MemoryDenyWriteExecute=yes" in limits


@pytest.mark.parametrize(
    ("shop", "files"),
    [
        (SHOP, None),
        ("server { listen 443 ssl; server_name codementee.io; }", "/etc/nginx/ssl/all.crt"),
        (
            "server { server_name codementee.io; ssl_certificate /a.crt; ssl_certificate_key a.key;"
            " ssl_certificate b.crt; ssl_certificate_key b.key; }",
            "/a.crt, /etc/nginx/b.crt",
        ),
    ],
)
def test_a_certificate_that_can_not_be_kept_is_noted_with_its_file(settings_with, shop, files):
    http = nginx("ssl_certificate ssl/all.crt; ssl_certificate_key ssl/all.key;", shop)
    with described(settings_with()) as (_, host):
        for answer, is_noted in (("", files is not None), ("/a.crt\n/a.key", False)):
            host.answers = SSHD | {NginxInForce: http, "-checkhost codementee.io": answer}
            run.of(host.state).notes.clear()
            run_deploy()
            noted = [
                one.text for one in run.of(host.state).notes.get((host.name, None), []) if "self-signed" in one.text
            ]
            assert [f"found no valid certificate in {files};" in text for text in noted] == [True] * is_noted


# --- Order -----------------------------------------------------------------------------------------------------------


def order(server, *names: str) -> list[int]:
    """The positions of operations by name."""
    found = [one.name for one in server.operations]
    return [found.index(name) for name in names]


def test_the_old_site_serves_until_the_new_one_does(settings_with):
    server = adopted(settings_with(), {})
    steps = order(
        server,
        "Back up the existing configuration",
        "Import the existing site as a release",
        "Keep the previous backend running",
        "Configure the backend",
        "Start the backend",
        "Configure Nginx",
        # What the old site needs is not in the sandbox.
        "Sandbox Nginx",
        "Stop the previous backend",
        "Move the previous site aside",
        "Get a certificate for codementee.io",
        "Disable other renewals of the site's certificate",
    )
    assert steps == sorted(steps)


def test_a_backend_at_the_port_of_the_next_one_is_not_kept_beside_it(settings_with):
    found = {Earlier: {"listeners": "127.0.0.1:8001 uvicorn codementee-backend.service"}}
    tcp = settings_with(backend_listen="127.0.0.1:8001")
    assert adopted(tcp, found).all("keep_serving") == []
    assert len(adopted(settings_with(), found).all("keep_serving")) == 1


def test_a_database_without_authentication_stays_open_until_the_sites_have_moved(settings_with):
    server = adopted(settings_with(), {Earlier: {"mongod": MONGOD}, MongodbData: data()})
    users = [one.arguments["stays_open"] for one in server.all("users")]
    assert users == [True, False]
    steps = order(
        server, "Create MongoDB's users", "Start the backend", "Configure Nginx", "Configure and restart MongoDB"
    )
    assert steps == sorted(steps)
    assert len(server.all("restart_with_its_data")) == 1
    fresh = adopted(settings_with(), {})
    steps = order(fresh, "Configure MongoDB", "Create MongoDB's users", "Start the backend")
    assert steps == sorted(steps)
    assert fresh.all("restart_with_its_data") == []


def test_a_database_alone_on_its_host_is_closed_after_all_sites(settings_with):
    with described(settings_with(), ("db",)) as (server, host):
        host.answers = SSHD | {Earlier: {"mongod": MONGOD}, MongodbData: data()}
        run_deploy()
    steps = order(server, "Create MongoDB's users", "Configure and restart MongoDB", "Configure fail2ban")
    assert steps == sorted(steps)


def test_a_source_of_the_same_repository_goes_before_ours_comes(settings_with):
    server = adopted(settings_with(), {})
    steps = order(server, "Disable other sources of MongoDB's packages", "Add MongoDB's repository")
    assert steps == sorted(steps)


# --- MongoDB's settings ----------------------------------------------------------------------------------------------


def test_a_database_elsewhere_is_configured_where_it_is(settings_with):
    settings = settings_with(
        mongodb_data="/data/db",
        mongodb_replica_set="rs0",
        mongodb_settings={"storage.directoryPerDB": True, "setParameter.cursorTimeoutMillis": 1000},
    )
    server = adopted(settings, {})
    text = server.about("/etc/mongod.conf").arguments["content"]
    assert "\n  dbPath: /data/db\n" in text
    assert "\n  keyFile: /etc/mongod.keyfile\n\nreplication:\n  replSetName: rs0\n" in text
    assert "\nstorage.directoryPerDB: true\n" in text
    assert "\nsetParameter:\n  cursorTimeoutMillis: 1000\n" in text
    limits = server.about(mongodb.LIMITS).arguments["content"]
    assert "RequiresMountsFor=/data/db" in limits
    assert "ReadWritePaths=/data/db -/var/log/mongodb" in limits
    assert server.about("/data/db").arguments["mode"] == "750"
