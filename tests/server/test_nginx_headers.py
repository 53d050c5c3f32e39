"""The security headers of all responses, including rate limits and errors."""

from __future__ import annotations

import socket
import ssl

import pytest

from slipway.server_tests.exposure import exposure_of
from slipway.server_tests.visits import is_single_page, policy_at, public_path, unknown_path
from slipway.tasks.nginx import hsts

FOR_EACH_SITE = True

FIXED = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
}
CSP = "Content-Security-Policy"


def expected(server, uri: str) -> dict[str, str]:
    """The expected headers of a response over https; `uri` is the file that is sent, or the path."""
    settings, policy = server.settings, policy_at(server, uri)
    return FIXED | {
        "Cross-Origin-Resource-Policy": "same-origin" if settings.has_frontend else "cross-origin",
        "Strict-Transport-Security": hsts(settings),
        **({CSP: policy} if policy else {}),
    }


def security_headers(answer) -> dict[str, str]:
    """The security headers of a response; a duplicate has both values, separated by a comma."""
    names = {*FIXED, "Cross-Origin-Resource-Policy", "Strict-Transport-Security", CSP}
    return {name: value for name, value in answer.headers.items() if name.title() in {n.title() for n in names}}


def same(found: dict[str, str], wanted: dict[str, str]) -> bool:
    return {k.lower(): v for k, v in found.items()} == {k.lower(): v for k, v in wanted.items()}


# Requested path, sent file, and status; the path "" if the site has none.
PATHS = {
    "the page": (lambda settings: "/" if settings.has_frontend else "", "/index.html", 200),
    "a path of the page's": (
        lambda settings: "/slipway-verify/nothing" if is_single_page(settings) else "",
        "/index.html",
        200,
    ),
    "a file": (lambda settings: "/robots.txt" if not is_single_page(settings) else "", "", None),
    "a hashed file that is missing": (
        lambda settings: (
            f"{settings.frontend_assets}missing.js" if settings.has_frontend and settings.frontend_assets else ""
        ),
        "",
        404,
    ),
}


@pytest.mark.parametrize("what", PATHS)
def test_every_answer_has_the_security_headers_once(server, what):
    path_of, file, status = PATHS[what]
    path = path_of(server.settings)
    if not path:
        pytest.skip("this site has no such path")
    answer = server.site.get(path)
    assert status is None or answer.status_code == status
    assert same(security_headers(answer), expected(server, file or path))


OF_THE_BACKEND = {
    "its health": lambda settings: public_path(settings, settings.backend.asked_path),
    "an unknown path": unknown_path,
    "the login's path": lambda settings: settings.nginx_login_path if settings.login else "",
}


@pytest.mark.parametrize("what", OF_THE_BACKEND)
def test_every_answer_of_the_backend_has_them_once(server, what):
    path = OF_THE_BACKEND[what](server.settings)
    if not path:
        pytest.skip("this site's backend has no such path")
    found, wanted = security_headers(server.site.get(path)), expected(server, path)
    if found.get(CSP) != wanted.get(CSP):
        # A policy that the backend sends takes precedence.
        wanted[CSP] = found.get(CSP, "")
        assert wanted[CSP]
        assert wanted[CSP].count("default-src") < 2
    assert same(found, wanted)


def test_a_redirect_to_https_has_them_without_hsts(server):
    answer = server.site.get_plain("/")
    wanted = expected(server, "/")
    del wanted["Strict-Transport-Security"]
    assert answer.status_code == 301
    assert same(security_headers(answer), wanted)


def raw(server, request: str) -> str:
    """The response headers of a raw request, in lower case."""
    context = ssl.create_default_context(cafile=server.site.authorities)
    port = 443 + server.site.port_offset
    plain = socket.create_connection((server.front_address, port), timeout=10)
    with context.wrap_socket(plain, server_hostname=server.settings.site_domain) as connection:
        connection.sendall(request.encode())
        received = b""
        while b"\r\n\r\n" not in received and (part := connection.recv(4096)):
            received += part
    return received.decode().lower()


@pytest.mark.parametrize("status", [400, 413, 414])
def test_errors_of_nginx_have_them_too(server, status):
    host = f"Host: {server.settings.site_domain}\r\n"
    requests = {
        400: f"GET / HTTP/1.1\r\n{host}Host: twice\r\n\r\n",
        413: f"POST /api/x HTTP/1.1\r\n{host}Content-Length: {server.settings.nginx_max_body_mb * 2**20 + 1}\r\n\r\n",
        414: f"GET /{'a' * 9000} HTTP/1.1\r\n{host}\r\n",
    }
    head = raw(server, requests[status])
    assert head.startswith(f"http/1.1 {status} ")
    # An overlong request has no path.
    for name, value in expected(server, "" if status == 414 else "/").items():
        assert f"\r\n{name}: {value}\r\n".lower() in head


def test_it_is_sandboxed(server, figure):
    exposure = exposure_of(server, "nginx.service")
    # Without the exceptions for other sites.
    limits = server.host.file("/etc/systemd/system/nginx.service.d/slipway.conf").content_string
    most = 3.0 if "ther site" in limits else 2.6
    figure("systemd-analyze security, Nginx", exposure, f"at most {most}", exposure <= most)
