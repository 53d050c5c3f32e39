"""Nginx and the site, from outside through TLS and on the host."""

from __future__ import annotations

import re
import socket
import ssl

import pytest

from slipway.releases.artifact import MIN_COMPRESSED_BYTES
from slipway.server_tests.exposure import exposure_of
from slipway.server_tests.visits import is_single_page, needs_frontend
from slipway.settings.hashed_names import has_hash
from slipway.tasks import backend_health

FOR_EACH_SITE = True


@pytest.fixture(scope="session")
def page(server):
    needs_frontend(server)
    return server.site.get("/")


def asset(page, server) -> str:
    """The path of a script that the page loads, from the folder of files with a hash in their names."""
    settings = server.settings
    files = f"find {settings.site_root}/frontend/build{settings.frontend_assets} -name '*.js'"
    if not settings.frontend_assets or not server.host.run(files).stdout:
        pytest.skip("this frontend has no scripts with a hash in their names")
    found = re.search(rf'"?({re.escape(settings.frontend_assets)}[^"\s>]+\.js)', page.text)
    assert found, page.text
    return found[1]


def test_it_runs_and_starts_at_boot_with_a_valid_configuration(server):
    assert server.host.service("nginx").is_running
    assert server.host.service("nginx").is_enabled
    assert server.host.run("nginx -t").rc == 0


def test_visitors_requests_are_not_for_everybody_to_read(server):
    modes = server.host.run("stat -c %a /var/log/nginx/access.log /var/log/nginx/requests.log").stdout.split()
    assert [mode[-1] for mode in modes] == ["0", "0"]


def test_the_home_page_is_served_over_tls_and_always_revalidated(page):
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Cache-Control"] == "no-cache"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_plain_http_redirects_to_https(server):
    answer = server.site.get_plain("/login?next=1")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{server.settings.site_domain}/login?next=1"


def test_files_with_a_hash_in_their_names_are_cached_for_a_year(server, page):
    path = asset(page, server)
    answer = server.site.get(path)
    assert answer.status_code == 200
    expected = "public, max-age=31536000, immutable" if has_hash(path) else "no-cache"
    assert answer.headers["Cache-Control"] == expected
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_script_is_sent_precompressed(server, page):
    path = asset(page, server)
    answer = server.site.get(path, headers={"Accept-Encoding": "gzip"})
    compressed = server.host.file(f"{server.settings.site_root}/frontend/build{path}.gz")
    if len(answer.content) < MIN_COMPRESSED_BYTES and not compressed.exists:
        pytest.skip("the script is too small to be compressed")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == compressed.size


def test_a_path_of_the_single_page_gets_the_page(server, page):
    if not is_single_page(server.settings):
        pytest.skip("this site's backend answers all paths without a file")
    answer = server.site.get("/slipway-verify/nothing")
    assert answer.status_code == 200
    assert answer.text == page.text


def test_all_files_of_the_home_page_exist(server, page):
    files = re.findall(r'(?:src|href)="?(/[^/"\s>][^"\s>]*)', page.text)
    assert [path for path in files if server.site.get(path).status_code != 200] == []


def test_a_missing_hashed_file_is_a_404(server):
    if not (server.settings.has_frontend and server.settings.frontend_assets):
        pytest.skip("this site has no hashed files")
    assert server.site.get(f"{server.settings.frontend_assets}missing-0000.js").status_code == 404


def test_it_speaks_http_2_and_no_old_tls(server):
    with server.site.handshake() as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionError)), server.site.handshake(ssl.TLSVersion.TLSv1_1):
        pass


def test_an_unknown_host_name_gets_no_site(server):
    """Unless another site is the default server."""
    default = server.host.file("/etc/nginx/sites-available/default").content_string
    if "listen 443 ssl http2 default_server" in default:
        with pytest.raises((ssl.SSLError, ConnectionError)), server.site.handshake(name="unknown.example"):
            pass
    if "listen 80 default_server" not in default:
        pytest.skip("another site is the default server")
    with socket.create_connection((server.front_address, 80), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n")
        assert connection.recv(1) == b""


def test_a_body_over_the_limit_is_refused(server):
    size = server.settings.nginx_max_body_mb * 2**20 + 1
    with socket.create_connection((server.front_address, 443), timeout=10) as plain:
        context = ssl.create_default_context(cafile=server.site.authorities)
        with context.wrap_socket(plain, server_hostname=server.settings.site_domain) as connection:
            lines = ("POST /api/auth/login HTTP/1.1", f"Host: {server.settings.site_domain}", f"Content-Length: {size}")
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_the_size_of_the_logs_has_a_limit(server):
    timer = "slipway-nginx-logs.timer"
    assert server.host.check_output(f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"


def test_behind_a_load_balancer_a_service_that_stops_answering_is_noticed_and_all_answer(server, figure):
    unit = server.host.service(backend_health.UNIT)
    if not server.settings.is_behind:
        assert not unit.is_running
        pytest.skip("this server is not behind a load balancer")
    assert unit.is_running
    assert unit.is_enabled
    assert server.host.check_output(f"ls {backend_health.UNANSWERED}") == ""
    exposure = exposure_of(server, backend_health.UNIT)
    figure(f"systemd-analyze security, {backend_health.NAME}", exposure, "at most 1.3", exposure <= 1.3)
