"""Nginx and the site, from outside through TLS and on the host."""

from __future__ import annotations

import re
import socket
import ssl

import pytest

FOR_EACH_SITE = True


@pytest.fixture(scope="session")
def page(server):
    return server.site.get("/")


def asset(page, server) -> str:
    """The path of a hashed script that the page names."""
    found = re.search(rf'"?({re.escape(server.settings.frontend_assets)}[^"\s>]+\.js)', page.text)
    assert found, page.text
    return found[1]


def test_it_runs_and_starts_at_boot_with_a_valid_configuration(server):
    assert server.host.service("nginx").is_running
    assert server.host.service("nginx").is_enabled
    assert server.host.run("nginx -t").rc == 0


def test_the_home_page_comes_over_tls_and_is_asked_for_anew_each_time(page):
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Cache-Control"] == "no-cache"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_plain_http_leads_to_https(server):
    answer = server.site.get_plain("/login?next=1")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{server.settings.site_domain}/login?next=1"


def test_hashed_files_are_kept_by_browsers_for_a_year(server, page):
    answer = server.site.get(asset(page, server))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_script_is_sent_as_it_was_compressed_at_release(server, page):
    path = asset(page, server)
    answer = server.site.get(path, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    compressed = server.host.file(f"{server.settings.site_root}/frontend/build{path}.gz")
    assert int(answer.headers["Content-Length"]) == compressed.size


def test_a_path_of_the_single_page_gets_the_page(server, page):
    answer = server.site.get("/companies")
    assert answer.status_code == 200
    assert answer.text == page.text


def test_a_missing_hashed_file_is_not_answered_with_the_page(server):
    assert server.site.get(f"{server.settings.frontend_assets}missing-0000.js").status_code == 404


def test_it_speaks_http_2_and_no_old_tls(server):
    with server.site.handshake() as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionError)), server.site.handshake(ssl.TLSVersion.TLSv1_1):
        pass


def test_an_unknown_host_name_gets_no_site(server):
    with pytest.raises((ssl.SSLError, ConnectionError)), server.site.handshake(name="unknown.example"):
        pass
    with socket.create_connection((server.address, 80), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n")
        assert connection.recv(1) == b""


def test_the_backend_sees_the_visitor_and_not_what_he_claims(server):
    answer = server.site.get("/api/client", headers={"X-Forwarded-For": "203.0.113.9"})
    if answer.status_code == 404:
        pytest.skip("this site's backend has no /api/client")
    seen = answer.json()
    assert seen["scheme"] == "https"
    assert seen["host"] == server.settings.site_domain
    assert seen["address"] != "203.0.113.9"
    assert re.fullmatch(r"[0-9a-f.:]+", seen["address"])


def test_a_body_over_the_limit_is_refused(server):
    size = server.settings.nginx_max_body_mb * 2**20 + 1
    with socket.create_connection((server.address, 443), timeout=10) as plain:
        context = ssl.create_default_context(cafile=server.site.authorities)
        with context.wrap_socket(plain, server_hostname=server.settings.site_domain) as connection:
            lines = ("POST /api/auth/login HTTP/1.1", f"Host: {server.settings.site_domain}", f"Content-Length: {size}")
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert connection.recv(64).startswith(b"HTTP/1.1 413 ")
