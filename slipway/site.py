"""A site as a visitor sees it, requested by name at a given address, without DNS."""

from __future__ import annotations

import socket
import ssl
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from slipway.settings.limits import SHIPPED


def in_url(address: str) -> str:
    """An address as it stands before a port: an IPv6 one in brackets, RFC 3986 section 3.2.2."""
    return f"[{address}]" if ":" in address else address


class _AtAddress(HTTPAdapter):
    """Connects to `address` and `port` for every request, with the URL's own name in the Host header and in TLS."""

    def __init__(self, address: str, port: int, domain: str) -> None:
        self.address, self.port, self.domain = address, port, domain
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self.domain, assert_hostname=self.domain, **kwargs)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        request.headers["Host"] = parts.netloc
        request.url = urlunsplit(parts._replace(netloc=f"{in_url(self.address)}:{self.port}"))
        return super().send(request, *args, **kwargs)


class _PlainAtAddress(_AtAddress):
    """The same over plain HTTP, where there is no TLS to give a name to."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        HTTPAdapter.init_poolmanager(self, *args, **kwargs)


class Site:
    """`https://domain` at `address`; `authorities` is a file with trusted roots, None for the system's.

    `port_offset` is added to every port where they are forwarded from others: to 443 and 80 as well. An answer may take
    `seconds`.
    """

    def __init__(
        self,
        domain: str,
        address: str,
        authorities: str | None = None,
        port_offset: int = 0,
        seconds: float = SHIPPED.visit,
    ) -> None:
        self.seconds = seconds
        self.domain, self.address, self.authorities, self.port_offset = domain, address, authorities, port_offset
        self.session = requests.Session()
        # $REQUESTS_CA_BUNDLE would override `verify`.
        self.session.trust_env = False
        self.session.verify = authorities or True
        self.session.mount("https://", _AtAddress(address, 443 + port_offset, domain))
        self.session.mount("http://", _PlainAtAddress(address, 80 + port_offset, domain))

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET a path over https; redirects are not followed."""
        return self._request("GET", f"https://{self.domain}{path}", **arguments)

    def post(self, path: str, **arguments: Any) -> requests.Response:
        """POST to a path over https."""
        return self._request("POST", f"https://{self.domain}{path}", **arguments)

    def get_plain(self, path: str, host: str | None = None) -> requests.Response:
        """GET a path over http, by default from this site's name."""
        return self._request("GET", f"http://{host or self.domain}{path}")

    def _request(self, method: str, url: str, **arguments: Any) -> requests.Response:
        return self.session.request(method, url, timeout=self.seconds, allow_redirects=False, **arguments)

    def handshake(self, version: ssl.TLSVersion | None = None, name: str | None = None) -> ssl.SSLSocket:
        """Make a TLS connection and close it; version, protocol (ALPN) and certificate can be read.

        `version` forces a TLS version, `name` asks for another host name. Raises ssl.SSLError, ConnectionError.
        """
        context = ssl.create_default_context(cafile=self.authorities)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if version:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
        connection = socket.create_connection((self.address, 443 + self.port_offset), timeout=self.seconds)
        return context.wrap_socket(connection, server_hostname=name or self.domain)

    def accepts(self, port: int, seconds: float = 2) -> bool:
        """Whether a TCP connection to a port of the address is accepted within `seconds`."""
        try:
            with socket.create_connection((self.address, port + self.port_offset), timeout=seconds):
                return True
        except OSError:
            return False
