"""What an existing Nginx says outside of server blocks: what goes, clashes, or is no longer inherited."""

from __future__ import annotations

import pytest

from slipway.adoption.nginx import MAIN, Found, added_obstacles, ignored_names, obstacles
from slipway.adoption.nginx_clashes import clashes
from slipway.adoption.nginx_config import Tree
from slipway.tasks import nginx

STOCK = "events {}\nhttp {\n include conf.d/*.conf;\n include /etc/nginx/sites-enabled/*;\n}\n"
SITES, CONF = "/etc/nginx/sites-enabled", "/etc/nginx/conf.d"
SITE = "server { server_name codementee.io; location /api/ { proxy_pass http://localhost:8001; } }"
BLOG = "server { listen 80; server_name blog.example; }"


def found(main: str = STOCK, stock: bool = True, **files: str) -> Found:
    """`conf_x` is conf.d/x.conf, every other name a file of sites-enabled."""
    paths = {
        f"{CONF}/{name[5:]}.conf" if name.startswith("conf_") else f"{SITES}/{name}": text
        for name, text in files.items()
    }
    texts = {MAIN: main} | paths
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    return Found(Tree(dump), "", frozenset([MAIN] if stock else []))


def told(there: Found, settings) -> dict[str, str]:
    return {one.name.rpartition("/")[2]: one.need for one in obstacles(there, settings)}


@pytest.mark.parametrize("blog", [{}, {"blog": BLOG}])
@pytest.mark.parametrize("name", ["app", "codementee"])
def test_what_stands_beside_the_sites_server_block_is_named(settings_with, name, blog):
    text = (
        "deny 198.51.100.0/24;\nauth_basic x;\nadd_header X-Robots-Tag noindex;\nclient_max_body_size 200m;\n"
        f"proxy_read_timeout 600s;\n{SITE}"
    )
    there = found(**{name: text}, **blog)
    kept = "it in /etc/nginx/conf.d/NAME.conf"
    others = [f"{kept} for the other servers"] if blog else []
    needs = {key: {*need.split(", and ")} for key, need in told(there, settings_with()).items()}
    assert needs == {
        f"{name}:1: deny": {kept},
        f"{name}:2: auth_basic": {kept},
        f"{name}:3: add_header": {"this header from the backend", *others},
        f"{name}:4: client_max_body_size": {"nginx_max_body_mb = 200"},
        f"{name}:5: proxy_read_timeout": {"nginx_backend_timeout = 600", *others},
    }
    # So is what a file does that somebody adds later.
    assert {one.name.rpartition("/")[2] for one in added_obstacles(there, settings_with())} == {*needs}


def test_what_usually_stands_beside_a_server_block_goes_with_it(settings_with):
    usual = (
        "upstream app { server 127.0.0.1:8001; } map $http_upgrade $connection_upgrade { default upgrade; '' close; }"
        " limit_req_zone $binary_remote_addr zone=mine:10m rate=5r/s; log_format short '$uri'; server_tokens off;"
        " proxy_cache_path /var/cache/nginx/x keys_zone=cached:1m; ssl_protocols TLSv1.3; gzip on;"
    )
    blog = "server { server_name blog.example; root /srv/app; proxy_set_header Connection $connection_upgrade; }"
    assert told(found(app=usual + SITE, blog=blog), settings_with()) == {}
    more = " proxy_buffering off; proxy_set_header Host $host; add_header X-Frame-Options DENY; charset utf-8;"
    assert told(found(app=usual + more + SITE), settings_with()) == {}
    assert told(found(app=f"deny 192.0.2.1; {SITE}", conf_deny="deny 192.0.2.1;"), settings_with()) == {}


@pytest.mark.parametrize(
    ("definition", "user", "name"),
    [
        ("upstream app { server 127.0.0.1:8001; }", "location / { proxy_pass http://app/x; }", "upstream app"),
        ("map $uri $mine { default a; }", "add_header X $mine;", "map $mine"),
        ("log_format short '$uri';", "access_log /var/log/nginx/b.log short;", "log_format short"),
        ("limit_req_zone $uri zone=mine:10m rate=5r/s;", "limit_req zone=mine burst=5;", "limit_req_zone mine"),
        ("proxy_cache_path /c keys_zone=mine:1m;", "proxy_cache mine;", "proxy_cache_path mine"),
    ],
)
def test_a_definition_in_a_file_that_goes_is_named_if_a_kept_file_uses_it(settings_with, definition, user, name):
    blog = "server { listen 80; server_name blog.example; " + user + " }"
    there = found(app=f"{definition} {SITE}", blog=blog)
    assert told(there, settings_with()) == {f"app:1: {name}": "it in /etc/nginx/conf.d/NAME.conf"}


@pytest.mark.parametrize("place", ["main", "conf"])
def test_what_the_site_inherits_and_slipways_would_not_is_named_with_its_setting(settings_with, place):
    lines = "proxy_read_timeout 600s; add_header X-Robots-Tag noindex; proxy_set_header X-Tenant a;"
    if place == "main":
        there = found(STOCK.replace("http {", "http { " + lines), stock=False, app=SITE)
        at = "nginx.conf:2"
    else:
        there, at = found(conf_own=lines, app=SITE), "own.conf:1"
    assert told(there, settings_with()) == {
        f"{at}: proxy_read_timeout": "nginx_backend_timeout = 600",
        f"{at}: add_header": "this header from the backend",
        f"{at}: proxy_set_header": "a backend that does without this header: Slipway does not send it",
    }
    assert f"{at}: proxy_read_timeout" not in told(there, settings_with(nginx_backend_timeout=600))


@pytest.mark.parametrize(
    "server",
    [
        "server { server_name codementee.io; proxy_read_timeout 30s; add_header X-Frame-Options DENY; "
        "location /api/ { proxy_pass http://localhost:8001; } }",
        "server { server_name codementee.io; location / { add_header Expires 0; try_files $uri /index.html; } "
        "location /api/ { add_header Expires 0; proxy_read_timeout 5s; proxy_pass http://localhost:8001; } }",
        BLOG,
    ],
)
def test_what_the_site_does_not_inherit_is_not_named(settings_with, server):
    there = found(conf_own="proxy_read_timeout 600s; add_header X-Robots-Tag noindex;", app=server)
    assert told(there, settings_with()) == {}


def test_usual_lines_for_all_servers_are_not_named(settings_with):
    lines = (
        "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; proxy_set_header Host $host;"
        " ssl_protocols TLSv1.3; add_header X-Content-Type-Options nosniff; proxy_hide_header X-Powered-By;"
        " proxy_read_timeout 60s; map $http_upgrade $connection_upgrade { default upgrade; '' close; } "
        " limit_req_zone $uri zone=a:1m rate=1r/s; ssl_session_cache shared:SSL:10m; gzip_types text/css;"
        " log_format own '$uri'; proxy_buffering on;"
    )
    there, settings = found(conf_own=lines, app=SITE), settings_with()
    assert told(there, settings) == {}
    assert [*clashes(there, nginx.configuration(settings), settings)] == []


def test_what_slipways_main_file_has_too_is_named_at_once(settings_with):
    settings = settings_with()
    there = found(
        conf_uploads="client_max_body_size 100m;\nkeepalive_timeout 5;\ngzip on;",
        blog=f"upstream codementee-backend {{ server 127.0.0.1:9; }} {BLOG}",
        zones="limit_req_zone $uri zone=codementee-login:1m rate=1r/s;\nlog_format slipway x;",
        app=f"gzip on; {SITE}",
    )
    said = {one.name.rpartition("/")[2]: one for one in clashes(there, nginx.configuration(settings), settings)}
    assert [*said] == [
        "uploads.conf:1: client_max_body_size",
        "uploads.conf:2: keepalive_timeout",
        "uploads.conf:3: gzip",
        "blog:1: upstream codementee-backend",
        "zones:1: limit_req_zone codementee-login",
        "zones:2: log_format slipway",
    ]
    assert said["uploads.conf:1: client_max_body_size"].need.startswith("nginx_max_body_mb = 100 instead of it")
    assert not any(one.may_go for one in said.values())


def test_a_server_block_that_nginx_ignores_is_not_the_sites(settings_with):
    old = SITE.replace("{ proxy_pass", "{ auth_basic x; proxy_pass")
    there = found(a=SITE, b=old)
    assert told(there, settings_with()) == {}
    assert ignored_names(there, settings_with()) == [
        f"{SITES}/b:1: Nginx ignores the name codementee.io, as {SITES}/a:1 has it"
    ]
    # On another port it answers.
    tls = old.replace("server {", "server { listen 443 ssl;", 1)
    assert [*told(found(a=SITE, b=tls), settings_with())] == ["b:1: auth_basic"]
    assert ignored_names(found(a=SITE, b=tls), settings_with()) == []


def test_a_server_block_that_is_ignored_beside_slipways_is_named_before_it_goes(settings_with):
    there = found(codementee=f"# by Slipway\n{SITE}", shop=SITE.replace("{ proxy_pass", "{ auth_basic x; proxy_pass"))
    assert [one.name for one in added_obstacles(there, settings_with())] == [f"{SITES}/shop:1: auth_basic"]
