"""Where the site's server blocks pass the backend's requests to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from slipway.adoption import Obstacle
from slipway.adoption.nginx import Found, local_ports
from slipway.adoption.nginx_config import Directive, Server, all_of
from slipway.adoption.nginx_site import is_answered, users_of
from slipway.settings.model import Settings

LOCAL = re.compile(r"127\.[\d.]+|localhost|\[::1\]")


def foreign_hosts(found: Found, site: Settings) -> list[str]:
    """The names and addresses that requests of the backend are passed to, and that may not be this server's."""
    return [*dict.fromkeys(host for _, host in _passed(found, site))]


def obstacles(found: Found, site: Settings, here: Collection[str]) -> Iterator[Obstacle]:
    """`here` are those of `foreign_hosts` that are this server after all."""
    known = {name for peer in site.peers_with("app") for name in (peer.name, peer.address)} | {*here}
    for one, host in _passed(found, site):
        if host not in known:
            found_now = f"{one}, which leads to {host}: another host, or a container"
            need = "a backend that may run on this server instead: Slipway passes these requests to its own"
            yield Obstacle(f"{one.at}: {one.name}", found_now, need)


def backend_ports(found: Found, site: Settings) -> dict[int | str, str]:
    """The local ports and sockets that the backend's requests are passed to (nginx.local_ports)."""
    return local_ports(
        found,
        [
            replace(server, directives=tuple(_passes(server.directives, server, site, is_backend=False)))
            for server in found.of_site(site)
        ],
    )


def _passed(found: Found, site: Settings) -> Iterator[tuple[Directive, str]]:
    upstreams = {one.arguments[0]: one for one in found.tree.http if one.name == "upstream" and one.arguments}
    for server in found.of_site(site):
        values = {one.arguments[0]: one.arguments[1] for one in all_of(server.directives) if _is_set(one)}
        for one in _passes(server.directives, server, site, is_backend=False):
            for host in _hosts(one.arguments[0], values, upstreams):
                if not LOCAL.fullmatch(host):
                    yield one, host


def _is_set(one: Directive) -> bool:
    return one.name == "set" and len(one.arguments) == 2


def _passes(directives: Sequence[Directive], server: Server, site: Settings, is_backend: bool) -> Iterator[Directive]:
    """The directives that pass requests of the backend's paths."""
    for one in directives:
        if one.name == "location" and one.arguments:
            path = one.arguments[-1]
            paths = [*users_of(path, server)] if path.startswith("@") else [path]
            is_its = not one.arguments[0].startswith("~") and all(is_answered(path, site) for path in paths)
            hosts = {service.host for service in site.services if service.host}
            yield from _passes(one.block or (), server, site, is_its or bool({*server.names} & hosts))
        elif one.name == "if":
            yield from _passes(one.block or (), server, site, is_backend)
        elif one.name == "proxy_pass" and one.arguments and is_backend:
            yield one


def _hosts(target: str, values: Mapping[str, str], upstreams: Mapping[str, Directive]) -> Iterator[str]:
    """The hosts of a proxy_pass; none where only a request tells them."""
    target = re.sub(r"\$\{?(\w+)\}?", lambda name: values.get(f"${name[1]}", name[0]), target)
    address = re.sub(r"(:\d+)\$.*", r"\1", target.partition("://")[2].partition("/")[0])
    block = upstreams[address].block if address in upstreams else None
    members = [one.arguments[0] for one in block or () if one.name == "server" and "down" not in one.arguments]
    for where in members or [address]:
        if where and "$" not in where and not where.startswith("unix:"):
            yield re.sub(r":\d+$", "", where)
