"""An existing Nginx: which of its servers are kept, and what Slipway's configuration lacks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from slipway.adoption import OURS, Obstacle
from slipway.adoption.nginx_choice import answers, ignored, is_packaged, serves
from slipway.adoption.nginx_config import (
    KEPT_IN_HTTP,
    KEPT_IN_MAIN,
    MAIN,
    Directive,
    Server,
    Tree,
    all_of,
    default_of,
    is_marked,
    socket_of,
)
from slipway.adoption.nginx_http import http_obstacles, inherited_obstacles, is_usual_log, lost_obstacles, together
from slipway.adoption.nginx_site import site_obstacles
from slipway.settings.model import Settings

ROOT = "/etc/nginx"
SITES, AVAILABLE = f"{ROOT}/sites-enabled", f"{ROOT}/sites-available"
# Slipway's server is the default on these sockets, unless another one is marked as default_server.
DEFAULTS = {"*:80": "80", "[::]:80": "[::]:80", "*:443": "443", "[::]:443": "[::]:443"}
# Directives of nginx.conf that Slipway's replaces, whatever their values: of the main context.
POLICY = re.compile(r"user|worker_\w+|pid|events|http|include")
# The number of answers that are compared before and after a restart of Nginx.
MAX_OBSERVED = 40


@dataclass(frozen=True)
class Found:
    """facts.NginxInForce: the present configuration, why it is invalid ("" if it is valid), which of its files are the
    package's, unmodified, and the targets of its links: of its files, and of its paths that lead to a home or /tmp."""

    tree: Tree
    error: str = ""
    stock: frozenset[str] = frozenset()
    links: Mapping[str, str] = field(default_factory=dict)

    def is_ours(self, file: str) -> bool:
        return OURS in self.tree.files.get(file, "")

    def is_stock(self, file: str) -> bool:
        return file in self.stock or self.links.get(file) in self.stock

    @property
    def others(self) -> list[Server]:
        """The servers that neither Slipway nor the package has written."""
        return [one for one in self.tree.servers if not self.is_ours(one.file) and not self._is_of_package(one)]

    def of_site(self, site: Settings) -> list[Server]:
        """Those of them that are a site's."""
        return [one for one in self.others if serves(one, self._rivals(one, site), site)]

    def answering(self, site: Settings) -> list[Server]:
        """Those of them that visitors of a site get."""
        return [one for one in self.others if answers(one, self._rivals(one, site), site)]

    def _rivals(self, server: Server, site: Settings) -> list[Server]:
        """The servers that may answer in place of one. Beside Slipway's, one with a name of the site was added to it:
        what it is to do is of interest, even if Nginx ignores it as the later one."""
        is_added = server.is_for(site.domains)
        return [one for one in self.tree.servers if not (is_added and self.is_ours(one.file))]

    def _is_of_package(self, server: Server) -> bool:
        # `certbot --nginx` adds its servers to the package's file where it finds none of a name.
        is_in_its_file = self.links.get(server.file, server.file) in (f"{SITES}/default", f"{AVAILABLE}/default")
        return self.is_stock(server.file) or (is_in_its_file and is_packaged(server))


def domains_of(settings: Settings) -> list[str]:
    return [domain for site in settings.all_sites for domain in site.domains]


def replaced_files(settings: Settings) -> set[str]:
    """The files and links that Slipway replaces."""
    names = ["default", *(site.site_name for site in settings.all_sites)]
    return {MAIN, *(f"{folder}/{name}" for folder in (SITES, AVAILABLE) for name in names)}


def retired_files(found: Found, settings: Settings) -> list[str]:
    """Other files with servers of the sites: removed, as they would still be included."""
    domains, replaced = domains_of(settings), replaced_files(settings)
    files = {server.file for server in found.others if server.is_for(domains)}
    return sorted(file for file in files - replaced if file.startswith((f"{SITES}/", f"{ROOT}/conf.d/")))


def remaining(found: Found, settings: Settings) -> list[Server]:
    """The other servers that are kept."""
    domains = domains_of(settings)
    return [server for server in found.others if not server.is_for(domains)]


def taken_defaults(found: Found, settings: Settings) -> set[str]:
    """The keys of DEFAULTS for which a kept server is marked as the default, or is it as the first one that has names
    and stays the first."""
    marked = {
        socket
        for server in remaining(found, settings)
        for socket, listen in server.sockets.items()
        if socket in DEFAULTS and is_marked(listen)
    }
    return marked | {
        socket for socket, server in _first_servers(found, settings) if server.names and _stays_first(server, settings)
    }


def lost_defaults(found: Found, settings: Settings) -> Iterator[str]:
    """What is no longer answered by a kept server that is the default only as the first one, a line each."""
    for socket, server in _first_servers(found, settings):
        if server.names and not _stays_first(server, settings):
            yield (
                f"{server}: found it as the implicit default server of {socket}, which it will not be any more: its"
                f" names and no others are answered (default_server at {server.sockets[socket].at} keeps it)"
            )


def _first_servers(found: Found, settings: Settings) -> Iterator[tuple[str, Server]]:
    """The kept servers that are a default server without being marked as such, with the key of DEFAULTS."""
    kept = remaining(found, settings)
    for socket in DEFAULTS:
        server = default_of(found.tree.servers, socket)
        if server in kept and not is_marked(server.sockets[socket]) and not _goes(server, found, settings):
            yield socket, server


def _stays_first(server: Server, settings: Settings) -> bool:
    """Whether Nginx reads a server before those of Slipway's sites."""
    folder, _, name = server.file.rpartition("/")
    return folder == f"{ROOT}/conf.d" or (folder == SITES and all(name < site.site_name for site in settings.all_sites))


def proxied_ports(found: Found, settings: Settings) -> dict[int | str, str]:
    """The local ports, and the sockets' paths, that the site's servers proxy to now, with the positions of the
    directives."""
    return local_ports(found, [server for site in settings.all_sites for server in found.of_site(site)])


def named_ports(found: Found) -> set[int]:
    """The ports that stand in the configuration, such as those that it proxies to by a variable."""
    return {int(port) for text in found.tree.files.values() for port in re.findall(r":(\d{2,5})\b", text)}


def others_at_ports(found: Found, settings: Settings, ports: Collection[int | str]) -> list[tuple[Server, int | str]]:
    """The kept servers that proxy to one of these local ports or sockets, and which."""
    return [
        (server, port)
        for server in remaining(found, settings)
        for port in local_ports(found, [server])
        if port in ports
    ]


def local_ports(found: Found, servers: Sequence[Server]) -> dict[int | str, str]:
    upstreams = {one.arguments[0]: one for one in found.tree.http if one.name == "upstream" and one.arguments}
    ports: dict[int | str, str] = {}
    for one in (one for server in servers for one in all_of(server.directives)):
        if one.name == "proxy_pass":
            target = one.arguments[0].partition("://")[2]
            # A socket's path ends at a colon, where the URI begins.
            name = target if target.startswith("unix:") else target.partition("/")[0]
            members = all_of(upstreams[name].block or ()) if name in upstreams else ()
            for address in [member.arguments[0] for member in members if member.name == "server"] or [name]:
                if local := re.fullmatch(r"(?:127\.[\d.]+|localhost|\[::1\]):(\d+)", address):
                    ports.setdefault(int(local[1]), one.at)
                elif address.startswith("unix:/"):
                    ports.setdefault(address.removeprefix("unix:").partition(":")[0], one.at)
    return ports


def obstacles(found: Found, settings: Settings) -> Iterator[Obstacle]:
    """The obstacles of an Nginx whose main file is not Slipway's."""
    if found.error:
        need = "a configuration that `nginx -t` accepts: fix it, or remove its files"
        yield Obstacle("Nginx", f"{found.error!r}", need, may_go=False)
        return
    yield from _listens(found, settings)
    yield from _foreign_listens(found, settings)
    yield from _implicit_defaults(found, settings)
    is_replaced = not found.is_stock(MAIN) and not found.is_ours(MAIN)
    of_main = _main_file(found, settings) if is_replaced else ()
    yield from together([*_sites(found, settings, found.tree.files), *of_main])


def added_obstacles(found: Found, settings: Settings) -> Iterator[Obstacle]:
    """What files do that somebody has added since the adoption, and that go as they have servers of the sites."""
    if not found.error:
        gone = {*retired_files(found, settings), *replaced_files(settings)}
        yield from together([*_sites(found, settings, gone)])


def _sites(found: Found, settings: Settings, files: Collection[str]) -> Iterator[Obstacle]:
    """What the servers in these files do that would be lost with them."""
    yield from _names(found, settings, files)
    yield from _beside_servers(found, settings, files)
    for site in settings.all_sites:
        of_site = found.of_site(site)
        for server in of_site:
            if server.file in files:
                yield from site_obstacles(server, of_site, site)


def ignored_names(found: Found, settings: Settings) -> list[str]:
    """The server blocks of the sites that Nginx ignores, a line each."""
    return [
        f"{server.file}:{server.line}: Nginx ignores the name {name}, as {first.file}:{first.line} has it"
        for server, name, first in ignored(found.tree.servers, domains_of(settings))
        if server in found.others
    ]


def _beside_servers(found: Found, settings: Settings, files: Collection[str]) -> Iterator[Obstacle]:
    """What stands in these files outside of server blocks, and would be lost: with the file, or as Slipway's server
    blocks have their own directives."""
    gone = {*retired_files(found, settings), *replaced_files(settings)} - {MAIN}
    kept = kept_in_http(found, settings)
    has_others = any(server.file not in gone for server in remaining(found, settings))
    for file in [file for file in _in_http(found) if file in gone and file in files]:
        if not found.is_stock(file) and not found.is_ours(file):
            directives = found.tree.expanded(found.tree.directives(file))
            lost = [one for one in directives if one.name != "server"]
            yield from lost_obstacles(lost, kept, settings, has_others)
    inherited = [one for one in found.tree.http if one.file in files and not found.is_ours(one.file)]
    for site in settings.all_sites:
        yield from inherited_obstacles(inherited, found.of_site(site), site)


def _in_http(found: Found) -> list[str]:
    """The files in force that Slipway's nginx.conf would include in http."""
    there = {one.file for one in found.tree.http}
    patterns = ("conf.d/*.conf", f"{SITES}/*")
    return [file for pattern in patterns for file in found.tree.included(pattern) if file in there]


def kept_in_http(found: Found, settings: Settings) -> list[Directive]:
    """The directives of http, servers among them, in files that Slipway's nginx.conf includes."""
    gone = {*retired_files(found, settings), *replaced_files(settings)}
    files = [file for file in _in_http(found) if file not in gone and not found.is_ours(file)]
    return [one for file in files for one in found.tree.expanded(found.tree.directives(file))]


def _listens(found: Found, settings: Settings) -> Iterator[Obstacle]:
    for server in remaining(found, settings):
        for socket, listen in server.sockets.items():
            host, _, port = socket.rpartition(":")
            at = f"{listen.at}: {listen}"
            if port not in ("80", "443"):
                continue
            # A page of Nginx's state, which programs on the server read; Slipway's own checks ask by https.
            is_inside = port == "80" and re.fullmatch(r"127[.].*|localhost|\[::1\]", host)
            if host not in ("*", "[::]") and not is_inside and not socket.startswith("unix:"):
                # Nginx prefers it to servers that listen on all addresses, whatever the name.
                yield Obstacle(
                    at, "a specific address, which hides servers without one", f"listen {port}", may_go=False
                )
            if "ipv6only=off" in listen.arguments:
                need = f"listen {port}; listen [::]:{port}: Slipway's sites listen on both"
                yield Obstacle(at, "one socket for IPv4 and IPv6", need, may_go=False)
            if "proxy_protocol" in listen.arguments:
                yield Obstacle(at, "the PROXY protocol on a port of the site", "a separate port", may_go=False)


def _foreign_listens(found: Found, settings: Settings) -> Iterator[Obstacle]:
    """Sockets of `stream` and `mail`: Nginx does not share them with http, and its test does not bind them."""
    for block in found.tree.top:
        for one in all_of(block.block or ()) if block.name in ("stream", "mail") else ():
            if one.name != "listen" or "udp" in one.arguments:
                continue
            port = socket_of(one.arguments[0]).rpartition(":")[2]
            if port.isdigit() and int(port) in settings.web_ports:
                found_now = f"a port of Slipway's sites in {block.name}, where http can't listen too"
                yield Obstacle(f"{one.at}: {one}", found_now, "another port", may_go=False)


def _goes(server: Server, found: Found, settings: Settings) -> bool:
    """Whether a server is in a file that goes, or that Slipway replaces."""
    domains, replaced = domains_of(settings), replaced_files(settings)
    real = found.links.get(server.file, server.file)
    of_site = {one.file for one in found.others if one.is_for(domains)}
    return bool({server.file, real} & replaced) or server.file in of_site


def _implicit_defaults(found: Found, settings: Settings) -> Iterator[Obstacle]:
    for socket, server in _first_servers(found, settings):
        if not server.names:
            need = f"default_server at {server.sockets[socket].at}, or a server_name"
            yield Obstacle(str(server), f"it as the implicit default server of {socket}", need)


def _names(found: Found, settings: Settings, files: Collection[str]) -> Iterator[Obstacle]:
    domains = domains_of(settings)
    for server in remaining(found, settings):
        if server.file in files and _goes(server, found, settings):
            yield Obstacle(str(server), "it in a file that Slipway replaces", f"it in {SITES}, in a separate file")
    for server in found.others:
        if server.is_for(domains) and server.file in files:
            for socket, listen in server.sockets.items():
                if socket.rpartition(":")[2] not in ("80", "443"):
                    found_now = "the site on another port, where Slipway does not serve it"
                    yield Obstacle(f"{listen.at}: {listen}", found_now, "none but 80 and 443")
            for name in server.names:
                if name.startswith("."):
                    need = f"{name[1:]}, and the used subdomains in site_aliases"
                    yield Obstacle(str(server), f"the name {name}, which includes all its subdomains", need)
                elif name not in domains:
                    yield Obstacle(str(server), f"the name {name} too", f'"{name}" in site_aliases')


def _main_file(found: Found, settings: Settings) -> Iterator[Obstacle]:
    for one in found.tree.directives(MAIN):
        if one.name == "user" and one.arguments[:1] != ("www-data",):
            need = "user www-data, and files of the sites that this user can read"
            yield Obstacle(f"{MAIN}: user", str(one), need)
        elif one.name == "http":
            has_others = bool(remaining(found, settings))
            for inner in one.block or ():
                yield from http_obstacles(inner, settings, has_others)
        elif not POLICY.fullmatch(one.name) and not is_usual_log(one):
            yield Obstacle(f"{one.at}: {one.name}", str(one), f"it in {KEPT_IN_MAIN}")


def lost_files(found: Found, future: Tree, settings: Settings) -> Iterator[Obstacle]:
    """Files that are included now, would not be with Slipway's configuration, and are not replaced by it."""
    gone = {*retired_files(found, settings), *replaced_files(settings)}
    domains = domains_of(settings)
    of_site = {server.file for server in found.tree.servers if server.is_for(domains)}
    used = {one.file for server in remaining(found, settings) for one in all_of(server.directives)}
    # Outside of server blocks a file applies to all of them: a list of denied addresses, say.
    used |= {one.file for one in (*found.tree.top, *found.tree.http) if one.name not in ("http", "server")}
    for file in found.tree.files:
        if file in future.files or file in gone or file in of_site or found.is_stock(file):
            continue
        if file in used or any(one.name == "server" for one in found.tree.directives(file)):
            found_now = "it included by a file that Slipway replaces"
            yield Obstacle(file, found_now, f"it in {SITES}, or as {KEPT_IN_HTTP}")


def gained_files(found: Found, future: Tree, settings: Settings) -> Iterator[Obstacle]:
    """Files that are not included now, and would be: Slipway includes every file of a folder."""
    for file in future.files:
        is_ours = OURS in future.files[file] or file in replaced_files(settings)
        if (
            file not in found.tree.files
            and not is_ours
            and any(one.name == "server" for one in future.directives(file))
        ):
            found_now = "server blocks that are not included now, and would be: Slipway includes every file there"
            yield Obstacle(file, found_now, f"it in {AVAILABLE}")


def observed(found: Found, settings: Settings) -> str:
    """A shell command that prints the status of each kept server, one per line: "blog.example:443=200"; "" if there are
    none. One that does not answer, or answers 5xx, is left out, and so is one that the owner has given up
    (adopt_without) with the file that it is in."""
    urls, gone = [], {*retired_files(found, settings), *replaced_files(settings)}
    for server in remaining(found, settings):
        if server.file in gone:
            continue
        names = [name for name in server.names if re.fullmatch(r"[A-Za-z0-9.-]+", name)]
        for socket in server.sockets:
            host, _, port = socket.rpartition(":")
            if host == "*" and port in ("80", "443"):
                urls += [f"{name}:{port}" for name in names]
    asked = " ".join(sorted({*urls})[:MAX_OBSERVED])
    return (
        f"""\
for site in {asked}; do
  scheme=http; [ ${{site##*:}} = 80 ] || scheme=https
  # Of a server block for 127.0.0.1 alone, others do not answer there.
  code=$(curl -sk -o /dev/null -m 5 -w '%{{http_code}}' --resolve $site:127.0.0.2 $scheme://$site/)
  case $code in [1-4]??) echo $site=$code ;; esac
done"""
        if asked
        else ""
    )
