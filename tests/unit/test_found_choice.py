"""Which server block answers for a site, and what follows from it: what is compared, and what stays the default."""

from __future__ import annotations

import pytest

from slipway.adoption import nginx_default
from slipway.adoption.nginx import Found, lost_defaults, obstacles, proxied_ports, taken_defaults
from slipway.adoption.nginx_choice import answers_by_http, chosen
from slipway.adoption.nginx_config import MAIN, Tree
from support.lineages import lineage

SITES = "/etc/nginx/sites-enabled"
STOCK = "events {}\nhttp { include conf.d/*.conf; include /etc/nginx/sites-enabled/*; }\n"
DEFAULT = (
    "listen 80 default_server; listen [::]:80 default_server; root /var/www/html;"
    " index index.html index.htm index.nginx-debian.html; server_name _; location / { try_files $uri $uri/ =404; }"
)
CERTBOT = (
    "server { server_name codementee.io; root /var/www/codementee/frontend/build; listen 443 ssl; }"
    " server { if ($host = codementee.io) { return 301 https://$host$request_uri; } listen 80;"
    " server_name codementee.io; return 404; }"
)


def found(**sites: str) -> Found:
    files = {MAIN: STOCK, **{f"{SITES}/{name}": text for name, text in sites.items()}}
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())
    return Found(Tree(dump), "", frozenset([MAIN]))


def told(there: Found, settings) -> list[str]:
    return [one.name.replace(f"{SITES}/", "") for one in obstacles(there, settings)]


@pytest.mark.parametrize(
    ("name", "answering"),
    [
        ("example.org", "example.org"),
        ("c.example.org", "*.example.org"),
        ("a.b.example.org", ".b.example.org"),
        ("www.example.net", "www.example.*"),
        ("shop.test", r"~^(?<name>\w+)\.test$"),
        ("SHOP.example.com", "first"),
    ],
)
def test_a_server_is_chosen_as_nginx_does(name, answering):
    names = [
        "first",
        r"~^(?<name>\w+)\.test$",
        r"~.test",
        "www.example.*",
        "*.example.org",
        ".b.example.org",
        "(",
        "~(",
    ]
    servers = found(a="".join(f"server {{ server_name '{one}'; }}" for one in [*names, "example.org"])).tree.servers
    assert chosen(servers, "*:80", name).names == [answering]
    assert chosen(servers, "*:443", name) is None


CLOSED = "auth_basic closed; location / { proxy_pass http://127.0.0.1:3000; }"


@pytest.mark.parametrize("name", ["*.codementee.io", r"~^(www\.)?app\.codementee\.io$", "app.*", "app.codementee.io"])
def test_a_server_that_serves_the_site_by_a_pattern_is_compared(settings_with, name):
    settings = settings_with(site_domain="app.codementee.io")
    there = found(app=f"server {{ server_name {name}; {CLOSED} }}")
    assert "app:1: auth_basic" in told(there, settings)
    assert [*proxied_ports(there, settings)] == [3000]


def test_a_default_server_without_a_name_is_compared_if_it_has_the_sites_files(settings_with):
    closed = "server { listen 80 default_server; server_name _; auth_basic closed; root %s; }"
    settings = settings_with()
    assert told(found(app=closed % "/var/www/codementee/frontend/build"), settings) == ["app:1: auth_basic"]
    for other in (
        found(app=closed % "/srv/blog"),
        found(app=closed.replace(" _;", " blog.example;") % "/var/www/codementee/frontend/build"),
        found(app=closed % "/var/www/codementee/frontend/build", z="server { server_name codementee.io; }"),
    ):
        assert told(other, settings) == []


def test_another_site_that_answers_other_names_as_the_first_one_goes_on(settings_with):
    settings = settings_with()
    blog = "server { listen 80; listen 443 ssl; server_name blog.example; }"
    there = found(blog=blog, codementee="server { listen 80; server_name codementee.io; }")
    assert taken_defaults(there, settings) == {"*:80", "*:443"}
    assert [*lost_defaults(there, settings)] == []
    # Slipway's server is the first one then.
    there = found(zoo=blog)
    assert taken_defaults(there, settings) == set()
    assert [line.partition(":")[0] for line in lost_defaults(there, settings)] == [f"{SITES}/zoo"] * 2
    marked = found(zoo=blog.replace("80", "80 default_server").replace("ssl", "ssl default_server"))
    assert [*lost_defaults(marked, settings)] == []
    assert [*lost_defaults(found(codementee="server { server_name codementee.io; }", zoo=blog), settings)] != []
    assert [*lost_defaults(found(codementee="server { listen 80; listen 443 ssl; }", zoo=blog), settings)] == []


def test_what_certbot_adds_to_the_packages_file_leaves_the_packages_own(settings_with):
    assert told(found(default=f"server {{ {DEFAULT} }} {CERTBOT}"), settings_with()) == []
    used = DEFAULT.replace("/var/www/html", "/srv/shop")
    assert told(found(default=f"server {{ {used} }} {CERTBOT}"), settings_with()) == ["default: server without a name"]


@pytest.mark.parametrize(
    ("lines", "is_plain"),
    [
        ("location / { try_files $uri /index.html; }", True),
        ("if ($host = www.codementee.io) { return 301 http://codementee.io$request_uri; }", True),
        ("location /login { return 301 https://codementee.io$request_uri; }", True),
        ("return 301 https://$host$request_uri;", False),
        ("location / { return 302 https://codementee.io$request_uri; }", False),
        ("if ($scheme = http) { rewrite ^ https://$host$request_uri; } listen 443 ssl; listen 80;", False),
        ("listen 443 ssl;", False),
    ],
)
def test_a_site_is_served_by_http_unless_all_is_led_to_https(lines, is_plain):
    (server,) = found(app=f"server {{ server_name codementee.io; {lines} }}").tree.servers
    assert answers_by_http(server, ["codementee.io", "www.codementee.io"]) is is_plain


def lost(there: Found, settings, **earlier: str) -> list[str]:
    return [one.name for one in nginx_default.obstacles(there, earlier, settings)]


def test_pages_of_the_packages_own_server_block_are_named(settings_with):
    packaged = found(default=f"server {{ {DEFAULT} }}")
    own = found(blog="server { listen 80; server_name blog.example; root /var/www/html; }")
    pages = "/var/www/html/index.html"
    assert lost(packaged, settings_with(), pages=pages) == ["/var/www/html"]
    assert lost(packaged, settings_with()) == []
    assert lost(own, settings_with(), pages=pages) == []
    blog = "server { listen 80; server_name blog.example; root /var/www/html; }"
    assert lost(found(default=f"server {{ {DEFAULT} }}", blog=blog), settings_with(), pages=pages) == []


def test_a_renewal_that_only_the_packages_server_block_answers_is_named(settings_with):
    renewal = "authenticator = webroot\nwebroot_path = /var/www/html,\n[[webroot_map]]\nmail.example = /srv/acme"
    mail = lineage("mail", "codementee.io", "mail.example", renewal=renewal)
    default = f"server {{ {DEFAULT} }}"
    (one,) = nginx_default.obstacles(found(default=default), mail, settings_with())
    assert one.name == "certificate mail: mail.example"
    assert "listen 80; server_name mail.example; root /srv/acme;" in one.need
    served = found(default=default, mail="server { listen 80; server_name mail.example; root /srv/acme; }")
    assert lost(served, settings_with(), **mail) == []
    by_dns = lineage("mail", "mail.example", renewal="authenticator = dns-route53")
    assert lost(found(default=default), settings_with(), **by_dns) == []


@pytest.mark.parametrize(
    ("listen", "is_named"),
    [
        ("127.0.0.1:80", False),
        ("localhost:80", False),
        ("[::1]:80", False),
        ("127.0.0.1:443 ssl", True),
        ("10.0.0.5:80", True),
    ],
)
def test_a_page_for_programs_on_the_server_hides_no_site(settings_with, listen, is_named):
    there = found(status=f"server {{ listen {listen}; location /nginx_status {{ stub_status; }} }}")
    assert any("listen" in name for name in told(there, settings_with())) is is_named
