"""Nginx's configuration, as `nginx -T` prints it, becomes sites."""

from __future__ import annotations

import pytest

from slipway.inspection import nginx, web
from support import recorded


def sites(text: str, **files: str):
    """The sites of a configuration, whose other files are by name below /etc/nginx."""
    given = {"/etc/nginx/nginx.conf": text, **{f"/etc/nginx/{name}": its for name, its in files.items()}}
    return nginx.sites_of(nginx.parse(given))


def server(text: str):
    (site,) = sites(f"http {{ server {{ {text} }} }}")
    return site


def test_what_nginx_prints_is_read():
    blog, main, old = nginx.sites_of(nginx.parse(nginx.files_of(recorded.text("nginx-T"))))
    assert blog.names == ["blog.example.org", "www.blog.example.org"]
    assert [(one.path, one.target) for one in blog.proxies] == [("/app/", "http://127.0.0.1:3000")]
    assert (main.names, main.listen) == (["byhand.test"], ["80", "443 ssl http2"])
    assert (main.root, main.certificate) == ("/var/www/codementee/frontend/build", "/etc/nginx/ssl/c.pem")
    assert [(one.path, one.target) for one in main.proxies] == [("/api/", "http://localhost:8001")]
    assert main.redirect == "", "port 80 redirects, the site answers"
    assert (old.names, old.file) == (["old.example.org"], "/etc/nginx/sites-enabled/codementee")


def test_the_files_are_read_from_the_host_as_nginx_prints_them():
    def told(found):
        return [(one.file, one.names, one.listen, one.proxies, one.root) for one in found]

    by_nginx = nginx.sites_of(nginx.parse(nginx.files_of(recorded.text("nginx-T"))))
    assert told(web.sites(recorded.answers("by_hand")["web"])) == told(by_nginx)


def test_words_in_quotes_comments_and_variables_are_told_apart():
    text = """
    # server_name no.example.org;
    server_name "a.example.org" 'b.example.org'; # another; server_name no.example.org;
    set $x "a { b } ; c"; set ${y} a#b;
    location ~ "^/v[0-9]{1,2}/" { proxy_pass http://10.0.0.1$request_uri; }
    """
    site = server(text)
    assert site.names == ["a.example.org", "b.example.org"]
    assert [one.path for one in site.proxies] == ["~ ^/v[0-9]{1,2}/"]


def test_included_files_are_read_in_their_order_and_a_circle_ends():
    found = sites(
        "http { include conf.d/*.conf; include /etc/nginx/sites-enabled/*; }",
        **{
            "conf.d/b.conf": "server { server_name b.org; include snippets/x; }",
            "conf.d/a.conf": "server { server_name a.org; } include conf.d/a.conf;",
            "conf.d/.hidden.conf": "server { server_name hidden.org; }",
            "conf.d/deep/c.conf": "server { server_name deep.org; }",
            "snippets/x": "root /srv/b;",
            "sites-enabled/site": "server { server_name site.org; }",
            "sites-available/off": "server { server_name off.org; }",
        },
    )
    assert [site.names for site in found] == [["a.org"], ["b.org"], ["site.org"]]
    assert (found[1].root, found[1].file) == ("/srv/b", "/etc/nginx/conf.d/b.conf")


def test_an_upstream_is_reported_by_its_servers_and_who_may_read_it_is_masked():
    (site,) = sites(
        "http { upstream app { server unix:/run/app.sock; server 127.0.0.1:9; }"
        " server { location / { proxy_pass http://app/x; }"
        " location /s/ { proxy_pass http://u:hunter2@10.0.0.1:8000; } location /g/ { grpc_pass grpc://app; } } }"
    )
    assert [(one.path, one.target) for one in site.proxies] == [
        ("/", "http://unix:/run/app.sock, 127.0.0.1:9/x"),
        ("/s/", "http://***@10.0.0.1:8000"),
        ("/g/", "grpc://unix:/run/app.sock, 127.0.0.1:9"),
    ]


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("root /a; location / { root /b; }", "/a"),
        ("location /.well-known/acme-challenge/ { root /acme; } location / { root /b; }", "/b"),
        ("location ^~ /.well-known/ { root /acme; }", ""),
    ],
)
def test_the_folder_of_a_site_is_not_that_of_the_acme_servers_questions(text, root):
    assert server(text).root == root


@pytest.mark.parametrize(
    ("text", "leads_to"),
    [
        ("return 301 https://a.org$request_uri;", "https://a.org$request_uri"),
        ("location / { return 308 https://a.org; }", "https://a.org"),
        # certbot --nginx writes this
        ("if ($host = b.org) { return 301 https://$host$request_uri; } return 404;", "https://$host$request_uri"),
        ("return 200 ok;", ""),
        ("if ($bad) { return 301 /; } root /srv;", ""),
    ],
)
def test_a_block_that_only_redirects_is_reported(text, leads_to):
    assert server(text).redirect == leads_to


@pytest.mark.parametrize(
    ("listen", "addresses"),
    [
        ("listen 80 default_server;", ["*:80"]),
        ("listen [::]:443 ssl default_server;", ["[::]:443"]),
        ("listen 0.0.0.0:80 default_server;", ["*:80"]),
        ("listen 10.0.0.1 default_server;", ["10.0.0.1:80"]),
        ("listen [::1] default;", ["[::1]:80"]),
        ("listen 80;", []),
    ],
)
def test_a_default_server_is_reported_by_its_address(listen, addresses):
    assert server(listen).default_of == addresses


@pytest.mark.parametrize(("size", "mb"), [("50m", 50), ("1g", 1024), ("512k", 1), ("0", None), ("", None)])
def test_the_size_of_a_body_is_reported_in_mebibytes(size, mb):
    assert server(f"client_max_body_size {size};" if size else "").max_body_mb == mb


def test_half_of_a_configuration_is_no_error():
    assert [site.names for site in sites("http { server { server_name a.org; location / { proxy_pass")] == [["a.org"]]
    assert sites("") == []
    assert nginx.sites_of(nginx.parse({})) == []


APACHE = """\
version apache2
active inactive active inactive inactive inactive
apache /etc/apache2/sites-enabled/x.conf ServerName x.example.org
apache /etc/apache2/sites-enabled/x.conf ServerAlias www.x.example.org y.example.org
apache /etc/apache2/sites-enabled/x.conf DocumentRoot "/var/www/x"
# certificates:
"""


def test_another_web_server_is_noticed_with_its_sites():
    assert [(one.name, one.active) for one in web.web_servers(APACHE)] == [("Apache", True)]
    (site,) = web.sites(APACHE)
    assert (site.names, site.root) == (["x.example.org", "www.x.example.org", "y.example.org"], "/var/www/x")


def test_files_that_could_not_be_read_are_reported():
    text = "# configuration file /etc/nginx/nginx.conf:\n\n# unreadable /etc/nginx/secret.conf:\n# certificates:\n"
    assert web.unreadable(text) == ["/etc/nginx/secret.conf"]
