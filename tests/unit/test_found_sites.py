"""What the server blocks of a site do that Slipway's would not: nothing in those that tutorials and certbot write."""

from __future__ import annotations

import pytest

from slipway.adoption.nginx import MAIN, Found, obstacles
from slipway.adoption.nginx_config import Tree

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


CERTBOT = """
server {
    root /var/www/codementee/html;
    index index.html index.htm index.nginx-debian.html;
    server_name codementee.io www.codementee.io;
    location / {
        try_files $uri $uri/ =404;
    }
    listen [::]:443 ssl ipv6only=on; # managed by Certbot
    listen 443 ssl; # managed by Certbot
    ssl_certificate /etc/letsencrypt/live/codementee.io/fullchain.pem; # managed by Certbot
    ssl_certificate_key /etc/letsencrypt/live/codementee.io/privkey.pem; # managed by Certbot
    include /etc/nginx/snippets/included; # managed by Certbot
    ssl_dhparam /etc/letsencrypt/ssl-dhparams.pem; # managed by Certbot
}
server {
    if ($host = www.codementee.io) {
        return 301 https://$host$request_uri;
    } # managed by Certbot
    if ($host = codementee.io) {
        return 301 https://$host$request_uri;
    } # managed by Certbot
    listen 80;
    listen [::]:80;
    server_name codementee.io www.codementee.io;
    return 404; # managed by Certbot
}
"""
CERTBOT_OPTIONS = """
ssl_session_cache shared:le_nginx_SSL:10m;
ssl_session_timeout 1440m;
ssl_session_tickets off;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_prefer_server_ciphers off;
ssl_ciphers "ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384";
"""
MOZILLA = """
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name codementee.io;
    location / {
        return 301 https://$host$request_uri;
    }
}
server {
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name codementee.io;
    ssl_certificate /path/to/signed_cert_plus_intermediates;
    ssl_certificate_key /path/to/private_key;
    ssl_session_timeout 1d;
    ssl_session_cache shared:MozSSL:10m;
    ssl_dhparam /path/to/dhparam;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;
    ssl_prefer_server_ciphers off;
    add_header Strict-Transport-Security "max-age=63072000" always;
    ssl_stapling on;
    ssl_stapling_verify on;
    ssl_trusted_certificate /path/to/root_CA_cert_plus_intermediates;
    resolver 127.0.0.1 valid=300s;
    resolver_timeout 5s;
}
"""
# A single page beside a backend, with the old advice for port 80, hidden files and error pages.
REACT_AND_FASTAPI = """
upstream fastapi { server 127.0.0.1:8001; keepalive 16; }
server {
    listen 80;
    server_name codementee.io www.codementee.io;
    return 301 $scheme://codementee.io$request_uri;
}
server {
    listen 443 ssl http2;
    server_name codementee.io www.codementee.io;
    ssl_certificate /c;
    ssl_certificate_key /k;
    root /var/www/codementee/frontend/build;
    index index.html;
    client_max_body_size 10M;
    large_client_header_buffers 2 1k;
    gzip on;
    gzip_static on;
    gzip_types text/plain text/css application/json application/javascript;
    if ($host = www.codementee.io) { return 301 https://codementee.io$request_uri; }
    error_page 404 /404.html;
    error_page 500 502 503 504 /50x.html;
    location = /50x.html { root /usr/share/nginx/html; internal; }
    location = /404.html { internal; }
    location = /favicon.ico { log_not_found off; access_log off; }
    location = /robots.txt { log_not_found off; access_log off; allow all; }
    location ~ /.well-known { allow all; }
    location /static/ { expires 1y; add_header Cache-Control "public, immutable"; }
    location ~* \\.(?:ico|css|js|gif|jpe?g|png|woff2?|svg)$ { expires 30d; add_header Cache-Control "public"; }
    location / { try_files $uri $uri/ /index.html; }
    location /api/ {
        proxy_pass http://fastapi;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Port $server_port;
        proxy_redirect off;
        proxy_buffering off;
        proxy_cache_bypass $http_upgrade;
    }
    location ~ /\\.(?!well-known).* { deny all; access_log off; log_not_found off; }
}
"""
# As guides for Express have it, before and with https.
EXPRESS = """
server {
    listen 80;
    listen [::]:80;
    server_name codementee.io www.codementee.io;
    rewrite ^ https://$host$request_uri? permanent;
}
server {
    listen 443 ssl;
    server_name codementee.io www.codementee.io;
    ssl on;
    ssl_certificate /c;
    ssl_certificate_key /k;
    if ($host !~* ^(www\\.)?codementee\\.io$) { return 444; }
    location / {
        root /var/www/codementee;
        if (!-e $request_filename) { rewrite ^(.*)$ /index.html break; }
    }
    location /api {
        proxy_pass http://localhost:8001/api;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection 'upgrade';
        proxy_set_header Host $host;
        proxy_set_header X-NginX-Proxy true;
        proxy_set_header Proxy "";
        proxy_set_header Authorization $http_authorization;
        proxy_hide_header X-Powered-By;
        proxy_cache_bypass $http_upgrade;
    }
}
"""
H5BP = """
server {
    listen [::]:80;
    listen 80;
    server_name www.codementee.io codementee.io;
    return 301 https://codementee.io$request_uri;
}
server {
    listen [::]:443 ssl http2;
    listen 443 ssl http2;
    server_name www.codementee.io;
    include /etc/nginx/snippets/included;
    return 301 $scheme://codementee.io$request_uri;
}
server {
    listen [::]:443 ssl http2;
    listen 443 ssl http2;
    server_name codementee.io;
    include /etc/nginx/snippets/included;
    root /var/www/codementee.io/public;
    charset utf-8;
    error_page 404 /404.html;
    location ~* /\\.(?!well-known\\/) { deny all; }
    location ~ (?:^|/)\\. { return 404; }
    location ~ /\\.ht { deny all; }
}
"""
H5BP_TLS = """
ssl_certificate /etc/nginx/certs/default.crt;
ssl_certificate_key /etc/nginx/certs/default.key;
ssl_buffer_size 4k;
ssl_ecdh_curve X25519:prime256v1;
ssl_early_data on;
ssl_conf_command Options PrioritizeChaCha;
"""
# With http to https as guides for load balancers have it, and www removed by a pattern.
OTHER_REDIRECTS = """
server {
    listen 80;
    listen 443 ssl;
    server_name codementee.io www.codementee.io;
    if ($http_x_forwarded_proto = "http") { return 301 https://$host$request_uri; }
    if ($scheme != "https") { rewrite ^(.*)$ https://$host$1 permanent; }
    if ($host ~* ^www\\.(.*)$) { return 301 https://$1$request_uri; }
    if ($server_port = 80) { return 301 https://${host}${request_uri}; }
}
"""
# The challenge apart, and no other answer on port 80.
WEBROOT = """
server {
    listen 80;
    server_name codementee.io;
    location ^~ /.well-known/acme-challenge/ { default_type text/plain; root /var/www/letsencrypt; }
    location = /.well-known/acme-challenge/ { return 404; }
    location / { return 404; }
}
"""


@pytest.mark.parametrize(
    ("text", "included"),
    [
        (CERTBOT, CERTBOT_OPTIONS),
        (MOZILLA, ""),
        (REACT_AND_FASTAPI, ""),
        (EXPRESS, ""),
        (H5BP, H5BP_TLS),
        (OTHER_REDIRECTS, ""),
        (WEBROOT, ""),
    ],
    ids=["certbot", "mozilla", "react-and-fastapi", "express", "h5bp", "other-redirects", "webroot"],
)
def test_an_ordinary_configuration_is_no_obstacle(settings_with, text, included):
    assert said(settings_with(site_aliases=["www.codementee.io"]), text, included) == []


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
    "line", ["return 301 https://www.codementee.io$request_uri;", "rewrite ^ $scheme://www.codementee.io/;"]
)
def test_a_redirect_to_the_name_with_www_is_named_with_the_setting(settings_with, line):
    (told,) = said(settings_with(), f"server {{ server_name codementee.io; {line} }}")
    assert 'need "www.codementee.io" in site_aliases, or' in told


def test_a_site_that_is_closed_on_port_80_alone_but_passes_requests_on_is_named(settings_with):
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
