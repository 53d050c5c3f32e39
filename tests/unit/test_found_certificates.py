"""Certificates of an existing server: renewals that would fail or stop Nginx, and who else uses those that end."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import certificates
from slipway.facts import acme_clients
from slipway.facts.earlier import Earlier
from support.lineages import lineage
from support.obstacles import SERVICE, told

BY_HOOK = "authenticator = manual\npref_challs = dns-01,\nmanual_auth_hook = /etc/letsencrypt/acme-dns-auth.py"
STANDALONE = "authenticator = standalone\npre_hook = systemctl stop nginx"


def test_the_command_for_a_separate_certificate_can_be_pasted(settings_with):
    (one,) = certificates.obstacles(lineage("all", "codementee.io", "*.blog.example"), settings_with())
    assert "(certbot certonly --cert-name '*.blog.example' -d '*.blog.example')" in one.need


def test_a_certificate_for_the_site_alone_is_renewed_no_more(settings_with):
    found = lineage("codementee.io", "codementee.io", renewal=STANDALONE)
    assert told(certificates.obstacles(found, settings_with())) == []
    assert certificates.superseded(found, settings_with()) == ["codementee.io"]
    assert certificates.superseded(lineage("codementee", "codementee.io"), settings_with()) == []
    assert certificates.superseded(lineage("w", "codementee.io", "blog.example"), settings_with()) == []
    assert certificates.superseded(
        lineage("w", "www.codementee.io"), settings_with(site_aliases=["www.codementee.io"])
    ) == ["w"]


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (lineage("all", "codementee.io", "blog.example"), "certificate all"),
        (lineage("all", "codementee.io", "*.codementee.io", renewal="authenticator = dns-x"), "certificate all: dns-x"),
        (lineage("all", "codementee.io", "*.codementee.io", renewal="authenticator = dns-route53"), None),
        (lineage("all", "codementee.io", "*.codementee.io", renewal=BY_HOOK), None),
        (lineage("all", "codementee.io", "*.codementee.io", renewal="authenticator = manual"), "certificate all"),
        (
            lineage("all", "codementee.io", "*.codementee.io", renewal="authenticator = dns-x")
            | {"plugins": "python3-certbot-dns-x", "used": "/srv/mail.yml:/etc/letsencrypt/live/all"},
            None,
        ),
        (lineage("blog", "blog.example", renewal=STANDALONE), "certificate blog"),
        (lineage("codementee", "blog.example", renewal="authenticator = webroot"), "certificate codementee"),
        (lineage("blog", "blog.example", renewal="post_hook = service nginx restart"), "certificate blog"),
        (lineage("blog", "blog.example"), None),
        (lineage("blog", "blog.example", renewal="authenticator = apache"), "certificate blog: apache"),
        (lineage("blog", "blog.example", renewal="authenticator = dns-x") | {"plugins": "python3-certbot-dns-x"}, None),
        (lineage("blog", "blog.example", renewal="authenticator = webroot"), None),
        (lineage("blog", "blog.example", renewal="authenticator = dns-x"), "certificate blog: dns-x"),
        (lineage("mail", "codementee.io") | {"used": "/srv/mail.yml:/etc/letsencrypt/live/mail"}, "certificate mail"),
        (lineage("mail", "codementee.io") | {"used": "/srv/mail.yml:/etc/letsencrypt/live/mail2"}, None),
        (
            {"file /etc/letsencrypt/cli.ini": "authenticator = standalone\nmax-log-backups = 0"},
            "/etc/letsencrypt/cli.ini: authenticator",
        ),
        (
            {"hooks": "/etc/letsencrypt/renewal-hooks/pre/x:systemctl stop nginx"},
            "/etc/letsencrypt/renewal-hooks/pre/x",
        ),
        ({"hooks": "/etc/letsencrypt/renewal-hooks/deploy/x:systemctl reload nginx"}, None),
        ({"clients": "/snap/bin/certbot\n/opt/certbot"}, None),
        ({"clients": "/usr/local/bin/certbot"}, "/usr/local/bin/certbot"),
        ({"clients": "/root/.acme.sh/codementee.io_ecc"}, "/root/.acme.sh/codementee.io_ecc"),
        ({"clients": "/root/.acme.sh/blog.example"}, None),
    ],
)
def test_a_renewal_that_would_fail_or_stop_nginx_is_named(settings_with, found, name):
    assert told(certificates.obstacles(found, settings_with())) == ([name] if name else [])


def test_what_ends_another_clients_renewal_is_the_clients_own_command(settings_with):
    clients = (
        "/root/.acme.sh/codementee.io_ecc\n/home/dev/.acme.sh/codementee.io\n/var/lib/dehydrated/certs/codementee.io"
    )
    needs = [one.need for one in certificates.obstacles({"clients": clients}, settings_with())]
    assert [need.removeprefix("only certbot's: ") for need in needs] == [
        "/root/.acme.sh/acme.sh --home /root/.acme.sh --remove -d codementee.io --ecc",
        "/home/dev/.acme.sh/acme.sh --home /home/dev/.acme.sh --remove -d codementee.io",
        "remove codementee.io from /etc/dehydrated/domains.txt",
    ]


def test_clients_that_renew_something_are_found(tmp_path):
    for folder in ("snap/bin", "usr/local/bin", "opt", "etc/dehydrated", "root/.acme.sh", "home"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("a.example_ecc/a.example.conf", "b.example/b.example.conf.removed", "c.example/c.example.conf"):
        (tmp_path / "root/.acme.sh" / file).parent.mkdir()
        (tmp_path / "root/.acme.sh" / file).touch()
    for name in ("d.example", "e.example"):
        (tmp_path / "var/lib/dehydrated/certs" / name).mkdir(parents=True)
    (tmp_path / "etc/dehydrated/domains.txt").write_text("www.e.example my-e.example\nd.example www.d.example\n")
    script = acme_clients.SECTION
    for folder in ("/snap", "/opt", "/usr/local", "/root", "/home", "/var", "/etc"):
        script = script.replace(f" {folder}/", f" {tmp_path}{folder}/")
    by_pip, snap = tmp_path / "usr/local/bin/certbot", tmp_path / "snap/bin/certbot"

    def ask() -> list[str]:
        done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], capture_output=True, text=True, check=False)
        return done.stdout.replace(str(tmp_path), "").split()

    there = ["/root/.acme.sh/a.example_ecc", "/root/.acme.sh/c.example", "/var/lib/dehydrated/certs/d.example"]
    snap.touch()
    by_pip.symlink_to(snap)
    assert ask() == ["/snap/bin/certbot", *there]
    snap.unlink()
    assert ask() == there
    by_pip.unlink()
    by_pip.touch()
    assert ask() == ["/usr/local/bin/certbot", *there]


def test_plugins_are_those_that_renewals_of_others_need():
    ways = {
        "blog": "nginx",
        "codementee": "nginx",
        "old": "dns-ovh",
        "shop": "apache",
        "all": "dns-route53",
        "x": "dns-x",
        "y": "webroot",
    }
    lines = [f"/etc/letsencrypt/renewal/{name}.conf:authenticator = {way}" for name, way in ways.items()]
    lines += [
        "/etc/letsencrypt/renewal/blog.conf:installer = nginx",
        "/etc/letsencrypt/renewal/y.conf:installer = None",
    ]
    found = certificates.plugins("\n".join(lines), {"codementee", "old"})
    # The package for Apache would install Apache.
    assert found == ["python3-certbot-dns-route53", "python3-certbot-nginx"]
    assert certificates.plugins("", set()) == []


@pytest.mark.parametrize(
    ("hook", "is_named"),
    [
        ("renew_hook = /usr/local/bin/copy-to-mail", True),
        ("renew_hook = systemctl reload nginx && systemctl restart dovecot", True),
        ("post_hook = cp -L /etc/letsencrypt/live/w/*.pem /srv/mail; nginx -s reload", True),
        ("renew_hook = /bin/systemctl reload nginx.service", False),
        ('renew_hook = "service nginx reload || true"', False),
        ("renew_hook = nginx -t && nginx -s reload", False),
        ("pre_hook = /usr/local/bin/open-port-80", False),
        ("post_hook = systemctl start apache2", False),
        ("post_hook = docker start proxy", False),
    ],
)
def test_a_hook_of_a_certificate_that_slipways_replaces_is_named(settings_with, hook, is_named):
    for name in ("w", "codementee"):
        found = lineage(name, "codementee.io", renewal=f"authenticator = webroot\n{hook}")
        names = [f"certificate {name}: {hook}"] if is_named else []
        assert told(certificates.obstacles(found, settings_with())) == names
    others = lineage("w", "blog.example", renewal=hook.replace("nginx", "x"))
    assert told(certificates.obstacles(others, settings_with())) == []


def test_what_uses_a_certificate_besides_nginx_is_found(tmp_path):
    files = {
        "etc/dovecot/ssl.conf": "ssl_cert = </etc/letsencrypt/live/shop.example/fullchain.pem\n",
        "etc/nginx/conf.d/x": "ssl_certificate /etc/letsencrypt/live/shop.example/fullchain.pem;\n",
        "etc/letsencrypt/renewal-hooks/deploy/copy": "cp -L /etc/letsencrypt/live/a.example/* /srv\n",
        "etc/letsencrypt/renewal/shop.example.conf": "cert = /etc/letsencrypt/live/shop.example/cert.pem\n",
        "opt/turn/compose.yml": "volumes:\n  - /etc/letsencrypt/live/shop.example:/certs:ro\n  # /live/b.example/\n",
        "opt/notes.txt": "/etc/letsencrypt/live/shop.example\n",
        "home/dev/shop/nginx.conf": " ssl_certificate_key /etc/letsencrypt/live/shop.example/privkey.pem;\n",
        "home/dev/shop/node_modules/x/a.js": "'/etc/letsencrypt/live/shop.example/privkey.pem'\n",
        "home/dev/chat/server.js": "read('/etc/letsencrypt/live/shop.example/privkey.pem')\n",
        "usr/local/bin/to-mail": "#!/bin/sh\ncp /etc/letsencrypt/live/shop.example/privkey.pem /srv\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for folder in ("srv", "root"):
        (tmp_path / folder).mkdir()
    (tmp_path / "etc/mail.pem").symlink_to("/etc/letsencrypt/live/shop.example/fullchain.pem")
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("s used") : command.index("s clients")].replace("/var/run/docker.sock", "/none")
    for folder in ("etc", "opt", "srv", "usr/local", "home", "root"):
        script = script.replace(f" /{folder}", f" {tmp_path}/{folder}").replace(
            f"'/{folder}/", f"'{tmp_path}/{folder}/"
        )
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert sorted(done.stdout.replace(str(tmp_path), "").splitlines()) == [
        "/etc/dovecot/ssl.conf:/etc/letsencrypt/live/shop.example",
        "/etc/letsencrypt/renewal-hooks/deploy/copy:/etc/letsencrypt/live/a.example",
        "/etc/mail.pem:/etc/letsencrypt/live/shop.example",
        "/home/dev/chat/server.js:/etc/letsencrypt/live/shop.example",
        "/opt/turn/compose.yml:/etc/letsencrypt/live/shop.example",
        "/usr/local/bin/to-mail:/etc/letsencrypt/live/shop.example",
    ]
