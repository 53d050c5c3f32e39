"""Nginx's configuration, parsed block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from slipway.adoption.nginx import Found
from slipway.adoption.nginx_config import Tree
from slipway.facts.earlier import Earlier
from slipway.facts.nginx import NginxFuture, NginxInForce
from slipway.facts.ssh import Sshd
from slipway.releases.pages import MAX_SOURCES, SOURCE_LISTS
from slipway.tasks.nginx import BACKEND, HEADERS, REQUESTS_LOG, configuration
from support.described import described, run_deploy

SERVICES = [
    {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/api/auth/health"},
    {"name": "pay", "app": "pay:app", "host": "pay.codementee.io", "health_path": "/well"},
]


def blocks(text: str, name: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each block by its first line, with its own directives, without those of inner blocks."""
    own: list[str] = []
    open_blocks = [(name, own)]
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith("{"):
            open_blocks.append((line[:-1].strip(), []))
        elif line == "}":
            yield open_blocks.pop()
        else:
            open_blocks[-1][1].append(line)
    (last,) = open_blocks
    yield last


@pytest.fixture
def files(settings_with):
    return configuration(settings_with(site_aliases=["www.codementee.io"], services=SERVICES))


@pytest.fixture
def site(files):
    return [*blocks(files["sites-available/codementee"])]


def answers(directives: list[str]) -> bool:
    """Whether a block answers requests: by add_header, a proxy or a return."""
    return any(line.startswith(("add_header ", "return 4", "proxy_pass ")) for line in directives)


def test_no_place_of_the_site_loses_the_security_headers(site):
    """A block with an add_header inherits none from outer blocks."""
    headers, backend = f"include {HEADERS};", f"include {BACKEND};"
    answering = [(name, own) for name, own in site if answers(own) or name == "server"]
    assert len(answering) > 12
    assert [name for name, own in answering if headers not in own and backend not in own] == []


def test_what_every_answer_tells_browsers_is_there_once_whatever_the_backend_sends(files):
    added = [line.split()[1] for _, own in blocks(files[HEADERS]) for line in own]
    assert added == [
        *("Strict-Transport-Security", "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options"),
        *("Referrer-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"),
    ]
    assert all(line.endswith(" always;") for _, own in blocks(files[HEADERS]) for line in own), "errors have them too"
    hidden = [line.split()[1].rstrip(";") for line in files[BACKEND].splitlines() if line.startswith("proxy_hide_hea")]
    assert hidden == added
    assert f"include {HEADERS};" in files[BACKEND]


def test_the_backend_is_told_who_the_visitor_is_by_nginx_alone(files):
    given = dict(re.findall(r"proxy_set_header (\S+) (.+);", files[BACKEND]))
    assert given["X-Forwarded-For"] == given["X-Real-IP"] == "$remote_addr"
    assert (given["X-Forwarded-Proto"], given["Host"], given["X-Forwarded-Host"]) == ("$scheme", "$host", "$host")


def test_old_tls_and_session_tickets_are_off(files):
    (http,) = [own for name, own in blocks(files["nginx.conf"]) if name == "http"]
    assert {"ssl_protocols TLSv1.2 TLSv1.3;", "ssl_session_tickets off;", "server_tokens off;"} <= {*http}


@pytest.mark.parametrize("line", ["charset utf-8;", "gzip_static on;", "brotli_static on;"])
def test_what_is_for_the_sites_own_files_is_not_for_other_sites_of_the_same_nginx(files, site, line):
    encrypted = [own for name, own in site if name == "server" and "listen 443 ssl http2;" in own]
    assert len(encrypted) == 3
    assert all(line in own for own in encrypted)
    assert line not in files["nginx.conf"]


def test_pages_of_a_load_balancer_have_their_character_set(balanced_with):
    site = [*blocks(configuration(balanced_with("lb"))["sites-available/codementee"])]
    encrypted = [own for name, own in site if name == "server" and "listen 443 ssl http2;" in own]
    assert encrypted
    assert all("charset utf-8;" in own for own in encrypted)


def test_nginxs_own_redirects_behind_a_load_balancer_name_no_port(balanced_with, site):
    behind = [own for name, own in blocks(configuration(balanced_with("one"))["sites-available/codementee"])]
    assert [own for own in behind if "port_in_redirect off;" in own] == [
        own for own in behind if "server_name codementee.io;" in own
    ]
    assert not any("port_in_redirect off;" in own for _, own in site)


def test_an_old_nginx_that_needs_a_certificate_gets_the_placeholder_for_other_names(settings_with):
    new, old = (configuration(settings_with(), rejects=rejects)["sites-available/default"] for rejects in (True, False))
    assert "ssl_reject_handshake on;" in new
    assert "ssl_certificate" not in new
    assert "ssl_reject_handshake" not in old
    assert "ssl_certificate /etc/nginx/tls/placeholder/fullchain.pem;" in old
    assert old.count("return 444;") == new.count("return 444;") + 1


def test_what_is_tried_before_an_adoption_is_for_the_servers_own_nginx(settings_with):
    tried = {}
    there = Found(Tree("# configuration file /etc/nginx/nginx.conf:\n"), "", frozenset(["/etc/nginx/nginx.conf"]))
    with described(settings_with(python_version="3.11"), os="ubuntu", release="22.04", codename="jammy") as (_, host):
        host.answers = {Earlier: {"x": ""}, NginxInForce: there, Sshd: {"authorizedkeysfile": [".ssh/authorized_keys"]}}
        answer = host.get_fact

        def noted(fact, **arguments):
            if fact is NginxFuture:
                tried.update(arguments["files"])
            return answer(fact, **arguments)

        host.get_fact = noted
        run_deploy()
    assert "ssl_reject_handshake" not in tried["sites-available/default"]


def test_plain_http_answers_the_acme_server_and_leads_all_else_to_https(site):
    plain = [own for name, own in site if name == "server" and "listen 80;" in own]
    redirects = [line for name, own in site if name == "location /" for line in own if line.startswith("return 301 ")]
    assert len(plain) == len(redirects) == 2
    assert all(line.startswith("return 301 https://") for line in redirects)


def test_a_site_without_a_certificate_that_was_served_by_http_still_is(settings_with):
    settings = settings_with(site_aliases=["www.codementee.io"], services=SERVICES)
    by_https, by_http = (
        [*blocks(configuration(settings, plain=plain)["sites-available/codementee"])] for plain in ([], ["codementee"])
    )
    plain = {own[2]: own for name, own in by_http if name == "server" and "listen 80;" in own}
    assert [*plain] == ["server_name pay.codementee.io;", "server_name codementee.io www.codementee.io;"]
    assert all("ssl" not in line for own in plain.values() for line in own)
    encrypted = [own for name, own in by_https if name == "server" and "listen 443 ssl http2;" in own]
    assert [own for name, own in by_http if name == "server" and "listen 443 ssl http2;" in own] == encrypted
    redirects = [line for _, own in by_http for line in own if line.startswith("return 301 ")]
    assert redirects == ["return 301 https://codementee.io$request_uri;"]
    # All that there is by https, and the answers to challenges.
    assert sum(name == "location ^~ /.well-known/acme-challenge/" for name, _ in by_http) == 2
    assert ("if ($uri ~ ^/[.]well-known/acme-challenge/)", ['set $closed "";']) in by_http, "also in maintenance"
    for location in ("location /api/", "location = /", "location = /slipway-unavailable"):
        once, twice = (sum(name == location for name, _ in its) for its in (by_https, by_http))
        assert once > 0
        assert twice == 2 * once


def test_an_unknown_host_name_gets_neither_a_site_nor_a_certificate(files):
    plain, encrypted = [own for name, own in blocks(files["sites-available/default"]) if name == "server"]
    assert {"listen 80 default_server;", "return 444;"} <= {*plain}
    assert {"listen 443 ssl http2 default_server;", "ssl_reject_handshake on;"} <= {*encrypted}


def test_guesses_at_a_password_are_counted_and_refused_above_the_limit(settings_with):
    settings = settings_with(nginx_login_rate_per_minute=10)
    own = dict(blocks(configuration(settings)["sites-available/codementee"]))
    login = own[f"location = {settings.nginx_login_path}"]
    assert [line for line in login if line.startswith("limit_req")] == [
        "limit_req zone=codementee-login burst=10 nodelay;",
        "limit_req_status 429;",
        "limit_req_log_level warn;",
    ]


def test_files_with_a_hash_in_their_name_are_kept_for_a_year_and_the_page_is_asked_for_anew(site):
    own = dict(site)
    assert "add_header Cache-Control $cache_by_name;" in own["location /static/"]
    pages = [
        own
        for name, own in site
        if name == "location /" and "try_files $uri $uri.html $uri/index.html /index.html;" in own
    ]
    assert ['add_header Cache-Control "no-cache";' in own for own in pages] == [True]


def test_a_page_gets_all_lists_of_its_scripts_and_its_header_fits_into_each_buffer(files, balanced_with):
    own = dict(blocks(files["nginx.conf"]))
    policy = own["map $scripts_0_of_codementee $policy_of_pages_codementee"][-1]
    for number in range(SOURCE_LISTS):
        assert own[f'map "{number or ""}$uri" $scripts_{number}_of_codementee'] == [
            "include /var/www/codementee/csp*.conf;"
        ]
        assert f"$scripts_{number}_of_codementee" in policy
    # 53 characters and a space for each hash.
    passed = configuration(balanced_with("lb"))["snippets/slipway-pass.conf"]
    assert MAX_SOURCES * SOURCE_LISTS * 54 < 32 * 1024 - 4096
    assert "proxy_buffer_size 32k;" in passed
    assert "proxy_buffer_size 16k;" in files[BACKEND]


@pytest.mark.parametrize(
    ("changes", "last"), [({}, "=404"), ({"backend_paths": ["/"]}, "@rest"), ({"frontend_assets": ""}, "=404")]
)
def test_a_file_that_only_another_release_has_is_found_and_never_the_page_instead(settings_with, changes, last):
    site = configuration(settings_with(**changes))["sites-available/codementee"]
    (name,) = [name for name, _ in blocks(site) if name.startswith("location ~* [.]")]
    # Nested: a path of the backend's is not asked for there.
    outer = site.index("try_files $uri $uri.html $uri/index.html")
    assert outer < site.index(name) < site.index("\n    }\n", outer)
    assert dict(blocks(site))[name] == [
        "root /var/www/codementee;",
        f"try_files /frontend/build$uri /previous/frontend/build$uri {last};",
    ]
    pattern = re.compile(name.removeprefix("location ~* "), re.IGNORECASE)
    assert all(map(pattern.search, ("/app.3f.js", "/css/app.CSS", "/img/a.jpg", "/a.js.map", "/f.woff2")))
    assert not any(map(pattern.search, ("/about", "/about.html", "/users/jane.doe", "/v1.2", "/js")))


def test_a_server_behind_a_load_balancer_has_the_files_of_the_next_release_too(balanced_with):
    site = configuration(balanced_with("one"))["sites-available/codementee"]
    files = "/frontend/build$uri /previous/frontend/build$uri /next-assets/frontend/build$uri =404"
    assert f"try_files {files};" in site


@pytest.mark.parametrize(("drain", "expected"), [((30, 30), 60), ((300, 30), 300), ((30, 900), 900)])
def test_a_reload_lets_connections_end_for_as_long_as_a_release_does(settings_with, drain, expected):
    site, further = drain
    blog = {"site_name": "blog", "site_domain": "blog.example.org", "release_drain_seconds": further}
    files = configuration(settings_with(release_drain_seconds=site, sites=[blog]))
    assert f"worker_shutdown_timeout {expected}s;" in files["nginx.conf"]


def test_the_id_of_a_request_is_nginxs_own_for_the_backend_and_in_a_log_without_queries(files, site):
    (_, backend), *_ = blocks(files[BACKEND])
    assert [line for line in backend if "X-Request-ID" in line] == ["proxy_set_header X-Request-ID $request_id;"]
    served = [own for name, own in site if name == "server" and "listen 443 ssl http2;" in own]
    assert served
    for own in served:
        # Who reads the common format still finds the site in it.
        assert "access_log /var/log/nginx/access.log;" in own
        assert any(line.startswith(f"access_log {REQUESTS_LOG} slipway ") for line in own)
    log = files["nginx.conf"].partition("log_format slipway")[2].partition(";")[0]
    assert '"id":"$request_id"' in log
    assert not {"$request_uri", "$request", "$args", "$query_string"} & {*re.findall(r"\$\w+", log)}
