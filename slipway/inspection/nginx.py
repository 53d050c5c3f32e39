"""A parser for Nginx's configuration, as `nginx -T` prints it.

https://nginx.org/en/docs/beginners_guide.html#conf_structure
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from slipway.inspection.masking import masked
from slipway.inspection.report import Proxy, Site

MARK = re.compile(r"# configuration file (.+):$")
# A comment, a quoted word, punctuation, or a word.
TOKEN = re.compile(r"#[^\n]*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[{};]|(?:[^\s{};\"'\\$]|\\.|\$\{\w+\}|\$)+|\s+")
PROXIES = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "grpc_pass", "scgi_pass")
SIZES = {"": 1 / 2**20, "k": 1 / 2**10, "m": 1.0, "g": 2**10}


@dataclass
class Directive:
    name: str
    arguments: list[str]
    file: str
    block: list[Directive] = field(default_factory=list)

    def all(self, name: str) -> list[Directive]:
        return [one for one in self.block if one.name == name]

    def value(self, name: str) -> str:
        """The arguments of the first directive of this name, "" if there is none."""
        return next((" ".join(one.arguments) for one in self.all(name)), "")


def files_of(text: str) -> dict[str, str]:
    """The files in the output of `nginx -T`, by name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        if mark := MARK.fullmatch(line):
            lines = found.setdefault(mark[1], [])
        else:
            lines.append(line)
    return {name: "\n".join(its) for name, its in found.items()}


def parse(files: dict[str, str]) -> Directive:
    """The configuration of the first file, with includes resolved, as the block of one directive."""
    top = next(iter(files), "")
    return Directive("", [], top, _block(files, top, posixpath.dirname(top), ()))


def _block(files: dict[str, str], name: str, folder: str, above: tuple[str, ...]) -> list[Directive]:
    tokens = (token for token in TOKEN.findall(files.get(name, "")) if not token.startswith("#") and token.strip())
    return _directives(tokens, files, name, folder, above)


def _directives(
    tokens: Iterator[str], files: dict[str, str], name: str, folder: str, above: tuple[str, ...]
) -> list[Directive]:
    """The directives up to the end of a block, without an incomplete last one."""
    found: list[Directive] = []
    words: list[str] = []
    for sign in tokens:
        if sign in (";", "{"):
            if not words:
                continue
            one = Directive(words[0], [_unquoted(word) for word in words[1:]], name)
            if sign == "{":
                one.block = _directives(tokens, files, name, folder, above)
            if one.name == "include" and one.arguments:
                for file in _included(files, posixpath.join(folder, one.arguments[0])):
                    if file not in (name, *above):
                        found += _block(files, file, folder, (*above, name))
            else:
                found.append(one)
            words = []
        elif sign == "}":
            return found
        else:
            words.append(sign)
    return found


def _unquoted(word: str) -> str:
    return word[1:-1] if word[:1] in "\"'" and word[:1] == word[-1:] else word


def _included(files: Iterable[str], pattern: str) -> list[str]:
    # As glob(3): a * matches no / and no leading dot.
    depth = pattern.count("/")
    return sorted(
        file
        for file in files
        if file.count("/") == depth
        and fnmatch.fnmatchcase(file, pattern)
        and (not posixpath.basename(file).startswith(".") or posixpath.basename(pattern).startswith("."))
    )


def sites_of(configuration: Directive) -> list[Site]:
    """The sites: server blocks of one file with the same names are one site."""
    found: dict[tuple[str, ...], Site] = {}
    for http in configuration.all("http"):
        upstreams = {one.arguments[0]: _upstream(one) for one in http.all("upstream") if one.arguments}
        for server in http.all("server"):
            site = _site(server, upstreams)
            known = found.setdefault((site.file, *site.names), site)
            if known is not site:
                _add(known, site)
    return [*found.values()]


def _upstream(block: Directive) -> str:
    return ", ".join(one.arguments[0] for one in block.all("server") if one.arguments)


def _site(server: Directive, upstreams: dict[str, str]) -> Site:
    listens = [one.arguments for one in server.all("listen") if one.arguments]
    names = [name for one in server.all("server_name") for name in one.arguments if name not in ("_", "")]
    return Site(
        server="nginx",
        names=list(dict.fromkeys(names)),
        listen=list(dict.fromkeys(" ".join(words) for words in listens)) or ["80"],
        file=server.file,
        root=_root(server),
        proxies=list(_proxies(server, "/", upstreams)),
        redirect=_redirect(server),
        certificate=server.value("ssl_certificate"),
        max_body_mb=_megabytes(server.value("client_max_body_size")),
        default_of=[_address(words[0]) for words in listens if {"default_server", "default"} & {*words[1:]}],
    )


def _root(server: Directive) -> str:
    """A server's root folder, ignoring the ACME challenge's location."""
    places = [one for one in server.all("location") if not any(".well-known" in word for word in one.arguments)]
    return next((root for one in (server, *places) if (root := one.value("root"))), "")


def _address(text: str) -> str:
    """The address and port of a `listen`, as nginx compares them: "*:80" for "80"."""
    host, colon, port = text.rpartition(":")
    if text.isdigit():
        return f"*:{text}"
    if not colon or text.endswith("]"):
        host, port = text, "80"
    return f"{'*' if host == '0.0.0.0' else host}:{port}"  # noqa: S104


def _add(site: Site, other: Site) -> None:
    site.listen = list(dict.fromkeys([*site.listen, *other.listen]))
    site.proxies += [proxy for proxy in other.proxies if proxy not in site.proxies]
    # The block that redirects port 80 to https does not make the site a redirect.
    site.redirect = site.redirect if site.redirect and other.redirect else ""
    site.root, site.certificate = site.root or other.root, site.certificate or other.certificate
    site.max_body_mb = site.max_body_mb or other.max_body_mb
    site.default_of += other.default_of


def _proxies(block: Directive, path: str, upstreams: dict[str, str]) -> Iterator[Proxy]:
    for one in block.block:
        if one.name in PROXIES and one.arguments:
            target = one.arguments[0]
            scheme, mark, rest = target.rpartition("://")
            host, slash, below = rest.partition("/")
            if host in upstreams:
                target = f"{scheme}{mark}{upstreams[host]}{slash}{below}"
            yield Proxy(path=path, target=masked(target))
        elif one.name == "location" and one.arguments:
            yield from _proxies(one, " ".join(one.arguments), upstreams)
        elif one.name in ("if", "limit_except"):
            yield from _proxies(one, path, upstreams)


def _redirect(server: Directive) -> str:
    """The target of a block that only redirects."""
    places = [server, *(one for one in server.all("location") if one.arguments == ["/"])]
    for place in places:
        for one in place.all("return"):
            if one.arguments and one.arguments[0] in ("301", "302", "307", "308"):
                return " ".join(one.arguments[1:])
    # certbot's: if ($host = name) { return 301 https://$host$request_uri; }, and 404 for all others
    ways = [one for block in server.all("if") for one in block.all("return") if one.arguments[:1] == ["301"]]
    if ways and server.value("return").startswith("404"):
        return " ".join(ways[0].arguments[1:])
    return ""


def _megabytes(size: str) -> int | None:
    found = re.fullmatch(r"(\d+)([kmg]?)", size.lower())
    return max(1, round(int(found[1]) * SIZES[found[2]])) if found and int(found[1]) else None
