"""What the server blocks of a site do that Slipway's would not: nothing in those that tutorials and certbot write."""

from __future__ import annotations

import pytest

from slipway.adoption.nginx import MAIN, Found, obstacles
from slipway.adoption.nginx_config import Tree
from support.usual_sites import USUAL_SITES

SITE = "/etc/nginx/sites-enabled/shop"
INCLUDED = "/etc/nginx/snippets/included"
STOCK = "events {}\nhttp { include /etc/nginx/sites-enabled/*; }\n"


def said(settings, text: str, included: str = "") -> list[str]:
    """The texts of the obstacles in a file of the site, without the file's name."""
    files = {MAIN: STOCK, SITE: text, INCLUDED: included}
    dump = "".join(f"# configuration file {path}:\n{its}\n" for path, its in files.items())
    found = obstacles(Found(Tree(dump), "", frozenset([MAIN])), settings)
    return [str(one).removeprefix(f"{SITE}:") for one in found]


def of_server(settings, *lines: str) -> list[str]:
    """The names of the directives that are obstacles in a server block for https."""
    text = "server { listen 443 ssl; server_name codementee.io; " + " ".join(lines) + " }"
    return [one.split(": ")[1] for one in said(settings, text)]


@pytest.mark.parametrize("name", USUAL_SITES)
def test_an_ordinary_configuration_is_no_obstacle(settings_with, name):
    assert said(settings_with(site_aliases=["www.codementee.io"]), *USUAL_SITES[name]) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("location / { allow 203.0.113.5; deny all; }", "deny"),
        ("location /api/ { satisfy any; deny all; auth_basic x; }", "satisfy"),
        ("location / { auth_request /check; }", "auth_request"),
        ("ssl_verify_client on;", "ssl_verify_client"),
        ("ssl_client_certificate /ca.pem;", "ssl_client_certificate"),
        ("if ($http_x_origin_secret != 'abc') { return 403; }", "if"),
        ("if ($geoip2_country = RU) { return 444; }", "if"),
        ("if ($request_method !~ ^(GET|POST)$) { return 404; }", "if"),
        ("location / { return 403; }", "return"),
        ("location /api/ { return 404; }", "return"),
        ("return 404;", "return"),
    ],
)
def test_what_closes_a_site_is_named(settings_with, line, name):
    assert of_server(settings_with(), line)[:1] == [name]


@pytest.mark.parametrize(
    "line",
    [
        "if ($request_uri ~ ^/shop) { return 301 https://shop.example$request_uri; }",
        "if ($host = codementee.io) { return 301 https://shop.example$request_uri; }",
        "if ($http_user_agent ~ bot) { rewrite ^ /prerender last; }",
        "location = / { return 302 https://a.example/app; }",
        "location / { return 301 /app; }",
        "return 301 https://codementee.io/app;",
        "return 301 https://shop.example$request_uri;",
    ],
)
def test_a_redirect_to_elsewhere_is_named(settings_with, line):
    assert len(of_server(settings_with(), line)) == 1


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("proxy_next_upstream error timeout;", False),
        ("proxy_next_upstream error http_503;", True),
        ("proxy_pass_request_headers on;", False),
        ("proxy_pass_request_headers off;", True),
        ("proxy_temp_file_write_size 64k; proxy_max_temp_file_size 0;", False),
    ],
)
def test_what_nginx_does_anyway_is_no_obstacle(settings_with, line, is_named):
    passing = f"location /api/ {{ proxy_pass http://x; {line} }}"
    assert of_server(settings_with(), passing) == [line.split()[0]] * is_named


@pytest.mark.parametrize("path", ["/static", "/static/"])
def test_files_of_a_folder_elsewhere_are_named_with_what_serves_them(settings_with, path):
    block = f"server {{ listen 443 ssl; server_name codementee.io; location {path} {{ alias %s; expires 30d; }} }}"
    (told,) = said(settings_with(), block % "/srv/shop/static/")
    assert "need its files in the frontend, or its folder in shared_urls" in told
    assert said(settings_with(), block % f"/var/www/codementee/frontend/build{path}") == []


@pytest.mark.parametrize(
    "line", ["return 301 https://www.codementee.io$request_uri;", "rewrite ^ $scheme://www.codementee.io/;"]
)
def test_a_redirect_to_the_name_with_www_is_named_with_the_setting(settings_with, line):
    (told,) = said(settings_with(), f"server {{ server_name codementee.io; {line} }}")
    assert 'need "www.codementee.io" in site_aliases, or' in told


def test_a_site_that_is_closed_on_port_80_and_has_no_https_is_named(settings_with):
    closed = "server { server_name codementee.io; location / { return 403; } }"
    assert [one.split(": ")[1] for one in said(settings_with(), closed)] == ["return"]
    encrypted = "server { listen 443 ssl; server_name codementee.io; }"
    assert said(settings_with(), f"{closed} {encrypted}") == []


def test_a_site_on_port_80_that_passes_some_requests_on_and_refuses_others_is_named(settings_with):
    text = "server { server_name codementee.io; location / { return 404; } location /api/ { proxy_pass http://x; } }"
    assert [one.split(": ")[1] for one in said(settings_with(), text)] == ["return"]


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("X-Api-Key s3cret", True),
        ("Authorization 'Basic x'", True),
        ("X-Remote-User ''", True),
        ("X-Forwarded-Prefix /api", True),
        ("X-Country $geoip2_country", True),
        ("X-Request-ID $request_id", False),
        ("Accept-Encoding ''", False),
        ("X-Forwarded-Ssl on", False),
        ("X-Api-Key $http_x_api_key", False),
    ],
)
def test_a_header_that_only_the_sites_nginx_adds_is_named(settings_with, line, is_named):
    passing = f"location /api/ {{ proxy_pass http://x; proxy_set_header {line}; }}"
    assert of_server(settings_with(), passing) == ["proxy_set_header"] * is_named


STRIPPED = 'need backend_paths = ["/api/ -> /"]'


@pytest.mark.parametrize(
    ("location", "settings", "need"),
    [
        ("/api/ { proxy_pass http://127.0.0.1:8001/; }", {}, STRIPPED),
        ("/api/ { proxy_pass http://app/; }", {"backend_paths": ["/api/ -> /"]}, ""),
        ("/api { proxy_pass http://127.0.0.1:8001/; }", {}, STRIPPED),
        ("/api { proxy_pass http://127.0.0.1:8001/; }", {"backend_paths": ["/api/ -> /"]}, ""),
        (
            "/api/ { proxy_pass http://127.0.0.1:8001; }",
            {"backend_paths": ["/api/ -> /"]},
            'need backend_paths = ["/api/"]',
        ),
        ("/api/ { proxy_pass http://127.0.0.1:8001/api/; }", {}, ""),
        ("/api/ { proxy_pass http://127.0.0.1:8001$request_uri; }", {}, ""),
        ("/api/ { proxy_pass http://unix:/run/x.sock:/v1/; }", {}, 'need backend_paths = ["/api/ -> /v1/"]'),
        ("/api/ { proxy_pass http://unix:/run/x.sock; }", {}, ""),
        ("/api/ { proxy_pass http://x/$1; }", {}, "need a site without it"),
        ("/api/ { rewrite ^/api/(.*)$ /$1 break; proxy_pass http://127.0.0.1:8001; }", {}, STRIPPED),
        ("/api { rewrite ^/api(.*)$ $1 break; proxy_pass http://x; }", {"backend_paths": ["/api/ -> /"]}, ""),
        ("/api/ { rewrite ^/api/(.*)$ /v2.php?p=$1 break; proxy_pass http://x; }", {}, "need a site without it"),
        ("= /users { proxy_pass http://x/people; }", {"backend_paths": ["/api/", "= /users"]}, "= /users -> /people"),
        ("/ { proxy_pass http://127.0.0.1:8001/; }", {"frontend_source": ""}, ""),
        ("/ { proxy_pass http://127.0.0.1:8001/app/; }", {"frontend_source": ""}, "need a site without it"),
    ],
)
def test_another_path_that_requests_are_passed_with_is_named_with_the_setting(settings_with, location, settings, need):
    told = said(settings_with(**settings), f"server {{ server_name codementee.io; location {location} }}")
    assert len(told) == bool(need)
    assert need in "".join(told)


def test_a_setting_of_paths_keeps_the_others_and_is_a_services_own(settings_with):
    chat = {"name": "chat", "app": "chat:app", "path": "/chat/", "health_path": "/chat/"}
    settings = settings_with(backend_paths=["/docs", "/api/"], services=[chat])
    text = "server { server_name codementee.io; location %s { proxy_pass http://x/; } }"
    assert 'need backend_paths = ["/docs", "/api/ -> /"]' in said(settings, text % "/api/")[0]
    assert 'need path = "/chat/ -> /" in the service chat' in said(settings, text % "/chat/")[0]


def test_what_is_no_file_leads_to_a_service_only_where_one_answers_it(settings_with):
    lines = "location / { try_files $uri @app; } location @app { proxy_pass http://x; }"
    assert of_server(settings_with(), lines) == ["proxy_pass"]
    assert of_server(settings_with(), lines.replace("/ {", "/api/ {", 1)) == []
    assert of_server(settings_with(frontend_source=""), lines) == []


def test_a_services_own_host_and_a_shared_folder_are_served(settings_with):
    chat = {"name": "chat", "app": "chat:app", "host": "chat.codementee.io", "health_path": "/"}
    settings = settings_with(services=[chat], shared_paths=["uploads"], shared_urls={"/uploads/": "uploads"})
    block = "server { listen 443 ssl; server_name chat.codementee.io; location / { proxy_pass http://localhost:9; } }"
    assert said(settings, block) == []
    assert of_server(settings, "location /uploads/ { alias /srv/uploads/; expires 1d; }") == []


def test_longer_headers_are_accepted_by_a_file_for_all_servers(settings_with):
    (told,) = said(settings_with(), "server { server_name codementee.io; large_client_header_buffers 4 32k; }")
    assert told.startswith("1: large_client_header_buffers: found")
    assert "need it in /etc/nginx/conf.d/" in told
    assert of_server(settings_with(), "client_header_buffer_size 64k;") == ["client_header_buffer_size"]
    assert of_server(settings_with(), "client_header_buffer_size 4k; large_client_header_buffers 4 8k;") == []
