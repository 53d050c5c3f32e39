"""What Nginx tells browsers with every answer, and how it judges who asks too much."""

from __future__ import annotations

import socket
import ssl

import pytest

from slipway.server_tests.exposure import exposure_of
from slipway.tasks.nginx import hsts

FOR_EACH_SITE = True

FIXED = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def expected(settings) -> dict[str, str]:
    """The headers of an answer over https."""
    return FIXED | {
        "Strict-Transport-Security": hsts(settings),
        **({"Content-Security-Policy": settings.nginx_csp} if settings.nginx_csp else {}),
    }


def security_headers(answer) -> dict[str, str]:
    """Those of an answer that are ours to judge; one that came twice has a comma between its values."""
    names = {*FIXED, "Strict-Transport-Security", "Content-Security-Policy"}
    return {name: value for name, value in answer.headers.items() if name.title() in {n.title() for n in names}}


def same(found: dict[str, str], wanted: dict[str, str]) -> bool:
    return {k.lower(): v for k, v in found.items()} == {k.lower(): v for k, v in wanted.items()}


PATHS = {
    "the page": ("/", 200),
    "a path of the page's": ("/companies", 200),
    "a file": ("/robots.txt", None),
    "a hashed file that is missing": ("{assets}missing.js", 404),
    "the backend": ("{health}", 200),
    "what the backend does not know": ("/api/no-such-thing", 404),
    "the login's path": ("{login}", None),
}


@pytest.mark.parametrize("what", PATHS)
def test_every_answer_has_the_security_headers_once(server, what):
    path, status = PATHS[what]
    settings = server.settings
    answer = server.site.get(
        path.format(
            assets=settings.frontend_assets, health=settings.backend_health_path, login=settings.nginx_login_path
        )
    )
    assert status is None or answer.status_code == status
    assert same(security_headers(answer), expected(settings))


def test_a_redirect_to_https_has_them_but_the_promise_of_https(server):
    answer = server.site.get_plain("/")
    wanted = expected(server.settings)
    del wanted["Strict-Transport-Security"]
    assert answer.status_code == 301
    assert same(security_headers(answer), wanted)


def raw(server, request: str) -> str:
    """The head of the answer to a request as it is written here, in lower case."""
    context = ssl.create_default_context(cafile=server.site.authorities)
    port = 443 + server.site.port_offset
    plain = socket.create_connection((server.address, port), timeout=10)
    with context.wrap_socket(plain, server_hostname=server.settings.site_domain) as connection:
        connection.sendall(request.encode())
        received = b""
        while b"\r\n\r\n" not in received and (part := connection.recv(4096)):
            received += part
    return received.decode().lower()


@pytest.mark.parametrize("status", [400, 413, 414])
def test_what_nginx_itself_refuses_has_them_too(server, status):
    host = f"Host: {server.settings.site_domain}\r\n"
    requests = {
        400: f"GET / HTTP/1.1\r\n{host}Host: twice\r\n\r\n",
        413: f"POST /api/x HTTP/1.1\r\n{host}Content-Length: {server.settings.nginx_max_body_mb * 2**20 + 1}\r\n\r\n",
        414: f"GET /{'a' * 9000} HTTP/1.1\r\n{host}\r\n",
    }
    head = raw(server, requests[status])
    assert head.startswith(f"http/1.1 {status} ")
    for name, value in expected(server.settings).items():
        assert f"\r\n{name}: {value}\r\n".lower() in head


def test_it_is_sandboxed(server, figure):
    exposure = exposure_of(server, "nginx.service")
    figure("systemd-analyze security, Nginx", exposure, "at most 2.6", exposure <= 2.6)
