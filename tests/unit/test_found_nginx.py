"""Reading an existing Nginx configuration, and its obstacles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.adoption.nginx import (
    MAIN,
    Found,
    gained_files,
    lost_files,
    observed,
    obstacles,
    others_at_ports,
    proxied_ports,
    retired_files,
    taken_defaults,
)
from slipway.adoption.nginx_clashes import taken_variables
from slipway.adoption.nginx_config import Tree, megabytes, parse, seconds, socket_of
from slipway.adoption.nginx_needs import needs_of

SITES = "/etc/nginx/sites-enabled"
STOCK = "user www-data;\nevents {}\nhttp {\n include conf.d/*.conf;\n include /etc/nginx/sites-enabled/*;\n}\n"
OURS = "# by Slipway: changes made here ...\n"


def found(main: str = STOCK, stock: tuple[str, ...] = (MAIN,), **sites: str) -> Found:
    """A configuration with files of sites-enabled by their names."""
    files = {MAIN: main, **{f"{SITES}/{name}": text for name, text in sites.items()}}
    return Found(
        Tree("".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())), "", frozenset(stock)
    )


def server(*lines: str, names: str = "blog.example") -> str:
    return "server { server_name " + names + "; " + " ".join(lines) + " }"


def told(there: Found, settings) -> list[str]:
    return [one.name.replace(f"{SITES}/", "") for one in obstacles(there, settings)]


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_a_configuration_is_read_as_nginx_reads_it():
    text = """
# a comment; with { signs
map $uri $x { "~^/a{2}" 1; default 'two words'; }
server {
    listen 80; if ($host = a.example) { return 301 https://$host$request_uri; } # managed
    location ~* \\.(js|css)$ { add_header X "a \\"b\\" ${y}"; }
}
"""
    mapped, block = parse(text, "f")
    assert [str(one) for one in mapped.block] == ["~^/a{2} 1", "default two words"]
    listen, condition, location = block.block
    assert (str(listen), listen.at) == ("listen 80", "f:5")
    assert [str(one) for one in condition.block] == ["return 301 https://$host$request_uri"]
    assert location.arguments == ("~*", "\\.(js|css)$")
    assert location.block[0].arguments == ("X", 'a \\"b\\" ${y}')


def test_what_is_included_counts_where_it_is_included():
    dump = f"""# configuration file {MAIN}:
http {{ include conf.d/*.conf; include vhosts/b; }}
# configuration file /etc/nginx/conf.d/a.conf:
server {{ include snippets/names; }}
# configuration file /etc/nginx/snippets/names:
server_name a.example;
listen 8080;
# configuration file /etc/nginx/vhosts/b:
server {{ server_name b.example; }}
"""
    first, second = Tree(dump).servers
    assert (first.file, first.names, [*first.sockets]) == ("/etc/nginx/conf.d/a.conf", ["a.example"], ["*:8080"])
    assert (second.file, second.names, [*second.sockets]) == ("/etc/nginx/vhosts/b", ["b.example"], ["*:80"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("80", "*:80"),
        ("0.0.0.0:80", "*:80"),
        ("*:80", "*:80"),
        ("[::]:443", "[::]:443"),
        ("[::1]", "[::1]:80"),
        ("198.51.100.7", "198.51.100.7:80"),
        ("localhost:8080", "localhost:8080"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_addresses_are_normalized(written, meant):
    assert socket_of(written) == meant


def test_sizes_and_times_are_those_of_the_settings():
    assert [megabytes(size) for size in ("1024", "8k", "64m", "2G", "0")] == [1, 1, 64, 2048, 10240]
    assert [seconds(time) for time in ("90", "90s", "1m", "1h 30m", "500ms")] == [90, 90, 60, 5400, 0]


# --- What stays and what goes ----------------------------------------------------------------------------------------


def test_another_sites_server_stays_and_the_sites_own_goes(settings_with):
    there = found(blog=server(), shop=server(names="codementee.io"), codementee=server(names="codementee.io"))
    assert retired_files(there, settings_with()) == [f"{SITES}/shop"]
    assert told(there, settings_with()) == []


def test_a_default_server_that_says_so_stays_the_default(settings_with):
    lines = "listen 80 default_server; listen [::]:443 ssl default;"
    assert taken_defaults(found(blog=server(lines)), settings_with()) == {"*:80", "[::]:443"}
    assert taken_defaults(found(blog=server("listen 8080;")), settings_with()) == set()
    assert taken_defaults(found(shop=server(lines, names="codementee.io")), settings_with()) == set()


def test_what_other_sites_need_is_left_to_them(settings_with):
    blog = server(
        "root /home/blog/public; access_log /var/log/blog/$host.log; error_log /var/log/nginx/blog.log;",
        "location / { proxy_pass http://unix:/tmp/blog.sock; }",
    )
    needs = needs_of(found(blog=f"proxy_cache_path /var/cache/blog keys_zone=b:1m; {blog}"), settings_with())
    assert (needs.write, needs.home, needs.tmp, needs.jit) == (("/var/cache/blog", "/var/log/blog"), True, True, False)
    assert needs_of(found(main=f"load_module modules/ngx_http_lua_module.so; {STOCK}"), settings_with()).jit is False
    assert needs_of(found(lua=server("content_by_lua_block { x }")), settings_with()).jit
    own = found(shop=server("root /home/shop;", names="codementee.io"), ours=OURS + server("root /home/x;"))
    assert not needs_of(own, settings_with()).home


def test_what_nginx_stores_for_visitors_is_written_where_its_pages_are(settings_with):
    blog = server(
        "root /srv/blog; location /up/ { dav_methods PUT; } location /in/ { alias /srv/in/; dav_methods PUT DELETE; }",
        "location /fetched/ { proxy_store /srv/fetched$uri; } location /not/ { root /srv/not; proxy_store off; }",
    )
    site = server("root /srv/site; dav_methods PUT;", names="codementee.io")
    assert needs_of(found(blog=blog, site=site), settings_with()).write == ("/srv/blog", "/srv/fetched", "/srv/in")


@pytest.mark.parametrize(
    ("links", "home", "tmp"),
    [
        ({"/srv/media": "/home/deploy/media"}, True, False),
        ({"/srv/media/in": "/tmp/in"}, False, True),
        ({"/srv/sites/blog.example": "/root/blog"}, True, False),
        ({f"{SITES}/blog": "/home/deploy/blog.conf"}, True, False),
        ({"/srv/site": "/home/deploy/site", f"{SITES}/site": "/home/deploy/site.conf"}, False, False),
        ({"/srv/media/in/deep": "/home/deploy/x"}, False, False),
    ],
)
def test_a_path_that_leads_to_a_home_is_not_hidden(settings_with, links, home, tmp):
    blog = server("root /srv/sites/$host; location /media/ { alias /srv/media/; }")
    there = found(blog=blog, site=server("root /srv/site;", names="codementee.io"))
    needs = needs_of(replace(there, links=links), settings_with())
    assert (needs.home, needs.tmp) == (home, tmp)


def test_the_ports_that_serve_the_site_now_are_known_by_what_nginx_leads_to(settings_with):
    site = server(
        "location /api/ { proxy_pass http://localhost:8001; } location /ws { proxy_pass http://app; }",
        "location /x { proxy_pass https://10.0.0.1:443/; }",
        names="codementee.io",
    )
    there = found(
        site=f"upstream app {{ server 127.0.0.1:3000 weight=2; server unix:/run/x; }} {site}",
        blog=server("location / { proxy_pass http://127.0.0.1:9; }"),
    )
    at = f"{SITES}/site:1"
    assert proxied_ports(there, settings_with()) == {8001: at, 3000: at, "/run/x": at}
    socket = found(site=server("location / { proxy_pass http://unix:/run/app.sock:/api/; }", names="codementee.io"))
    assert [*proxied_ports(socket, settings_with())] == ["/run/app.sock"]


def test_another_site_that_proxies_to_the_replaced_backend_is_known(settings_with):
    there = found(
        app=server("location / { proxy_pass http://127.0.0.1:8001; }", names="_"),
        site=server("location / { proxy_pass http://127.0.0.1:8001; }", names="codementee.io"),
        blog=server("location / { proxy_pass http://127.0.0.1:9; }"),
    )
    assert [(one.file, port) for one, port in others_at_ports(there, settings_with(), [8001, 3000])] == [
        (f"{SITES}/app", 8001)
    ]


def test_how_other_sites_answer_is_asked_by_their_names(settings_with):
    there = found(
        blog=server("listen 80; listen 443 ssl;", names="blog.example *.blog.example"),
        shop=server("listen 80;", names="codementee.io"),
        far=server("listen 8080;", names="far.example"),
    )
    script = observed(there, settings_with())
    assert "for site in blog.example:443 blog.example:80; do" in script
    assert observed(found(), settings_with()) == ""
    # In the file of the site itself: given up with it, as adopt_without says.
    old = found(codementee=server("listen 80;", names="old.example"))
    assert observed(old, settings_with()) == ""


# --- What is in the way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sites", "names"),
    [
        ({"blog": server("listen 198.51.100.7:80;")}, ["blog:1: listen 198.51.100.7:80"]),
        ({"blog": server("listen [::]:80 ipv6only=off;")}, ["blog:1: listen [::]:80 ipv6only=off"]),
        ({"blog": server("listen 443 ssl proxy_protocol;")}, ["blog:1: listen 443 ssl proxy_protocol"]),
        ({"blog": server("listen 127.0.0.1:8080;")}, []),
        ({"blog": server(names="_")}, ["blog: server without a name"]),
        ({"blog": server("listen 80 default_server;", names="_")}, []),
        ({"a": server(), "blog": server(names="_")}, []),  # the first one is the default
        ({"default": server()}, ["default: server blog.example"]),
        ({"both": server(names="codementee.io") + server()}, ["both: server blog.example"]),
        ({"shop": server(names="codementee.io old.example")}, ["shop: server codementee.io, old.example"]),
        ({"shop": server("listen 80; listen 8443 ssl;", names="codementee.io")}, ["shop:1: listen 8443 ssl"]),
    ],
)
def test_a_server_that_would_not_answer_as_it_does_is_named(settings_with, sites, names):
    assert told(found(**sites), settings_with()) == names


@pytest.mark.parametrize(
    ("line", "name"),
    [
        # What certbot and tutorials write.
        ("listen 443 ssl; # managed by Certbot\n", None),
        ("if ($host = codementee.io) { return 301 https://$host$request_uri; } return 404;", None),
        ("ssl_certificate /c; ssl_dhparam /d; ssl_protocols TLSv1.2;", None),
        ("root /srv/x; index index.html; location / { try_files $uri /index.html; }", None),
        ("location /api/ { proxy_pass http://localhost:8001; proxy_set_header Host $host; }", None),
        ("location /api { proxy_pass http://localhost:8001; proxy_read_timeout 60s; }", None),
        ("location /static/ { expires 1y; add_header Cache-Control public; }", None),
        ("location ~* \\.(js|css|png)$ { expires 30d; access_log off; }", None),
        ("location ~ /\\. { deny all; }", None),
        ("location = /favicon.ico { log_not_found off; }", None),
        ("location ^~ /.well-known/acme-challenge/ { root /var/www/html; }", None),
        ("client_max_body_size 10m; gzip on; add_header X-Frame-Options DENY;", None),
        # What the site would be without.
        ("location /blog/ { proxy_pass http://127.0.0.1:2368; }", "location /blog/"),
        ("location /uploads/ { alias /srv/uploads/; }", "location /uploads/"),
        ("location / { proxy_pass http://127.0.0.1:3000; }", "proxy_pass"),
        ("location ~ \\.php$ { fastcgi_pass unix:/run/php.sock; }", "location \\.php$"),
        ("auth_basic closed; auth_basic_user_file /etc/nginx/users;", "auth_basic"),
        ("location /api/ { allow 10.0.0.0/8; deny all; proxy_pass http://x; }", "deny"),
        ("client_max_body_size 100m;", "client_max_body_size"),
        ("location /api/ { proxy_pass http://x; proxy_read_timeout 5m; }", "proxy_read_timeout"),
        ("add_header Access-Control-Allow-Origin *;", "add_header"),
        ("add_header Content-Security-Policy \"default-src 'self' https:\";", "add_header"),
        ("return 301 http://elsewhere.example;", "return"),
        ("rewrite ^/old$ /new permanent;", "rewrite"),
        ("limit_req zone=mine;", "limit_req"),
        ("include snippets/missing.conf; sub_filter a b;", "sub_filter"),
    ],
)
def test_what_the_sites_own_configuration_does_and_slipways_does_not_is_named(settings_with, line, name):
    names = [one.rpartition(": ")[2] for one in told(found(shop=server(line, names="codementee.io")), settings_with())]
    assert names[:1] == ([name] if name else [])


def test_a_limit_that_a_setting_raises_is_no_obstacle(settings_with):
    there = found(shop=server("client_max_body_size 100m; proxy_read_timeout 5m;", names="codementee.io"))
    assert told(there, settings_with(nginx_max_body_mb=100, nginx_backend_timeout=300)) == []


@pytest.mark.parametrize(
    ("main", "names"),
    [
        (STOCK.replace("user www-data", "user deploy"), ["user"]),
        (STOCK.replace("http {", "http { log_format short '$uri';"), ["log_format"]),
        (
            STOCK.replace("http {", "http { client_max_body_size 1g; gzip on; keepalive_timeout 5;"),
            ["client_max_body_size"],
        ),
        (
            STOCK.replace("http {", "http { access_log /var/log/nginx/access.log; access_log /srv/a.log;"),
            ["access_log"],
        ),
        (STOCK.replace("http {", "http { large_client_header_buffers 8 32k;"), ["large_client_header_buffers"]),
        (STOCK.replace("http {", "http { ssl_verify_client on; ssl_protocols TLSv1.3;"), ["ssl_verify_client"]),
        (STOCK.replace("http {", "http { types { text/x y; } types_hash_max_size 4096;"), ["types"]),
        (STOCK.replace("http {", "http { default_type text/html;"), ["default_type"]),
        (STOCK.replace("http {", "http { default_type application/octet-stream; charset utf-8; gzip_static on;"), []),
        (STOCK.replace("http {", "http { charset koi8-r; gzip_static always;"), ["charset", "gzip_static"]),
        (STOCK.replace("http {", "http { large_client_header_buffers 2 1k; map_hash_bucket_size 128;"), []),
        (f"{STOCK} stream {{ server {{ listen 53; }} }}", ["stream"]),
        (f"load_module modules/x.so; {STOCK}", ["load_module"]),
        (f"worker_processes 4; pid /run/nginx.pid; {STOCK}", []),
    ],
)
def test_what_nginxs_main_file_does_and_slipways_does_not_is_named(settings_with, main, names):
    assert [name.rpartition(": ")[2] for name in told(found(main=main, stock=()), settings_with())] == names


def test_a_charset_of_all_servers_is_that_of_kept_ones_too(settings_with):
    main = STOCK.replace("http {", "http { charset utf-8;")
    assert told(found(main=main, stock=(), blog=server()), settings_with()) == [f"{MAIN}:3: charset"]


@pytest.mark.parametrize(
    ("listen", "is_named"),
    [("443", True), ("[::]:80", True), ("127.0.0.1:443", True), ("443 udp", False), ("8443", False)],
)
@pytest.mark.parametrize("block", ["stream", "mail"])
def test_a_socket_of_another_block_on_a_port_of_the_sites_is_named(settings_with, listen, is_named, block):
    modules = "/etc/nginx/modules-enabled/99-own.conf"
    dump = f"# configuration file {MAIN}:\ninclude modules-enabled/*.conf;\n{STOCK}\n"
    dump += f"# configuration file {modules}:\n{block} {{ server {{ listen {listen}; ssl_preread on; }} }}\n"
    there = [*obstacles(Found(Tree(dump), "", frozenset([MAIN])), settings_with())]
    assert [one.name for one in there] == [f"{modules}:1: listen {listen}"] * is_named
    assert not any(one.may_go for one in there)


def test_a_file_that_only_the_main_file_includes_is_named(settings_with):
    main = STOCK.replace("http {", "http { include vhosts/*;")
    dump = f"# configuration file {MAIN}:\n{main}\n# configuration file /etc/nginx/vhosts/blog:\n{server()}\n"
    there = Found(Tree(dump))
    (lost,) = lost_files(there, found(main=OURS).tree, settings_with())
    assert lost.name == "/etc/nginx/vhosts/blog"
    assert [*lost_files(there, there.tree, settings_with())] == []


def test_a_file_for_all_servers_that_only_the_main_file_includes_is_named(settings_with):
    main = STOCK.replace("http {", "http { include blocked.conf;")
    files = {MAIN: main, "/etc/nginx/blocked.conf": "deny 192.0.2.66;", f"{SITES}/blog": server()}
    there = Found(Tree("".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())))
    assert [one.name for one in lost_files(there, found(blog=server()).tree, settings_with())] == [
        "/etc/nginx/blocked.conf"
    ]


def test_a_file_that_would_come_into_force_is_named(settings_with):
    there, away = found(blog=server()), "server { server_name away.example; }"
    after = found(main=OURS, blog=server(), away=away, codementee=OURS).tree
    assert [one.name for one in gained_files(there, after, settings_with())] == [f"{SITES}/away"]
    assert [*gained_files(there, there.tree, settings_with())] == []


def test_a_variable_that_slipways_configuration_defines_too_is_named():
    own = f"{OURS}events {{}} http {{ map $https $hsts {{ on x; }} map $a $connection_upgrade {{ b c; }} }}"
    blog = "map $scheme $hsts { https y; }\nmap $b $own { c d; }\nmap $http_upgrade $connection_upgrade { a b; }"
    assert [one.name for one in taken_variables(found(main=own, blog=blog).tree)] == [f"{SITES}/blog:1: map $hsts"]
    assert [*taken_variables(found(main=own).tree)] == []


@pytest.mark.parametrize("name", [".codementee.io", "CodeMentee.io"])
def test_a_name_of_the_sites_in_another_form_is_the_sites(settings_with, name):
    there = found(app=server(names=name))
    assert retired_files(there, settings_with()) == [f"{SITES}/app"]
    said = [one.found for one in obstacles(there, settings_with())]
    assert said == (["the name .codementee.io, which includes all its subdomains"] if name.startswith(".") else [])


def test_a_configuration_that_nginx_refuses_already_is_reported_in_its_words(settings_with):
    (one,) = obstacles(Found(Tree(""), error="unknown directive"), settings_with())
    assert str(one).startswith("Nginx: found 'unknown directive', need a configuration that `nginx -t` accepts")
