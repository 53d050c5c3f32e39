"""Which server block answers for a name, as Nginx chooses it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from slipway.adoption.nginx_config import Directive, Server, all_of, default_of
from slipway.adoption.nginx_requests import leads_to_itself
from slipway.settings.model import Settings

# The kinds of names in Nginx's order of preference, the best one last.
NONE, PATTERN, BEGINNING, END, EXACT = range(5)
PLAIN = ("*:80", "[::]:80")
PACKAGED = {"listen 80 default_server", "listen [::]:80 default_server", "root /var/www/html", "server_name _"}
NO_PAGE = "try_files $uri $uri/ =404"
WEB = (*PLAIN, "*:443", "[::]:443")


def chosen(servers: Sequence[Server], socket: str, name: str) -> Server | None:
    """The server that answers for a name at an address and port.
    https://nginx.org/en/docs/http/server_names.html"""
    here = [server for server in servers if socket in server.sockets]
    # Of equal ones the first.
    fits = [(_fit(pattern, name), server) for server in here for pattern in server.names]
    fit, server = max(fits, key=lambda one: one[0], default=((NONE, 0), None))
    return server if fit[0] != NONE else default_of(servers, socket)


def _fit(pattern: str, name: str) -> tuple[int, int]:
    """How a server's name fits another: its kind and its length."""
    if pattern.removeprefix(".") == name:
        return EXACT, 0
    if pattern.startswith("~"):
        return (PATTERN if _matches(pattern[1:], name) else NONE), 0
    if pattern.startswith(("*.", ".")) and name.endswith(pattern.removeprefix("*")):
        return END, len(pattern.removeprefix("*"))
    if pattern.endswith(".*") and name.startswith(pattern[:-1]):
        return BEGINNING, len(pattern)
    return NONE, 0


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(re.sub(r"\(\?<(?=\w)", "(?P<", pattern), name, re.IGNORECASE) is not None
    except re.error:
        return False


def answers(server: Server, servers: Sequence[Server], site: Settings) -> bool:
    """Whether a server answers for a site now: by one of its names, by a pattern that fits the first one, or as a
    default server without a name. One with a name is another site's."""
    if server.is_for(site.domains):
        return any(
            chosen(servers, socket, name) == server for socket in server.sockets for name in _domains(server, site)
        )
    if server not in [chosen(servers, socket, site.site_domain) for socket in server.sockets if socket in WEB]:
        return False
    return not server.names or _is_named(server, site)


def serves(server: Server, servers: Sequence[Server], site: Settings) -> bool:
    """The same, but a default server only with files of the site: it may be another site's that has no name."""
    has_files = any(f"{one}/".startswith(f"{site.site_root}/") for one in folders(server))
    return answers(server, servers, site) and (bool(server.names) or has_files)


def _domains(server: Server, site: Settings) -> list[str]:
    return [name for name in site.domains if server.is_for([name])]


def ignored(servers: Sequence[Server], domains: Sequence[str]) -> Iterator[tuple[Server, str, Server]]:
    """The server blocks that have a name of these at an address and port where an earlier one has it, with the name and
    that one: Nginx warns of a "conflicting server name, ignored"."""
    for server in servers:
        for name in domains:
            if server.is_for([name]):
                first = [chosen(servers, socket, name) for socket in server.sockets]
                if other := next((one for one in first if one not in (None, server)), None):
                    yield server, name, other


def folders(server: Server) -> list[str]:
    """The folders that its files are in."""
    return [one.arguments[0] for one in all_of(server.directives) if one.name in ("root", "alias") and one.arguments]


def _is_named(server: Server, site: Settings) -> bool:
    return any(_fit(pattern, site.site_domain)[0] != NONE for pattern in server.names)


def is_packaged(server: Server) -> bool:
    """Whether a server is the one of Debian's sites-available/default, which shows a page of Nginx's own."""
    return not server.names and all(
        str(one) in PACKAGED
        or one.name == "index"
        or (one.name == "location" and one.arguments == ("/",) and [*map(str, one.block or ())] == [NO_PAGE])
        for one in server.directives
    )


def answers_by_http(server: Server, names: Collection[str]) -> bool:
    """Whether a server of port 80 has pages, rather than lead all requests to https."""
    leads = (leads_to_itself(one, names) and "https://" in str(one) for one in _first(server.directives))
    return bool({*server.sockets} & {*PLAIN}) and not any(leads)


def _first(directives: Sequence[Directive]) -> Iterator[Directive]:
    """The directives that requests for most paths come to."""
    for one in directives:
        yield one
        if one.name == "if" or (one.name == "location" and one.arguments == ("/",)):
            yield from _first(one.block or ())
