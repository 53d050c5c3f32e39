"""A parser for Nginx's whole configuration, as `nginx -T` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

MAIN = "/etc/nginx/nginx.conf"
# Other files that Slipway's nginx.conf includes, in http and in the main context.
KEPT_IN_HTTP, KEPT_IN_MAIN = "/etc/nginx/conf.d/NAME.conf", "/etc/nginx/modules-enabled/NAME.conf"
# `nginx -T` prints this line before each file.
FILE = re.compile(r"# configuration file (.*):")
# https://nginx.org/en/docs/dev/development_guide.html#config: words, quoted ones, and what ends a directive.
TOKEN = re.compile(
    r"""(?P<space>\s+) | (?P<comment>\#[^\n]*) | (?P<end>[;{}])
    | "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)' | (?P<word>(?:\\.|\$\{[^}]*\}|[^\s;{}])+)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Directive:
    """`name` with its arguments, and its block, if it has one. `at` is "FILE:LINE"."""

    name: str
    arguments: tuple[str, ...]
    file: str
    line: int
    block: tuple[Directive, ...] | None = None

    @property
    def at(self) -> str:
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return " ".join((self.name, *self.arguments))


@dataclass(frozen=True)
class Server:
    """A server block, with its includes resolved."""

    file: str
    line: int
    directives: tuple[Directive, ...]

    @property
    def names(self) -> list[str]:
        """Its names in lower case, without "_" and ""."""
        names = (name if name.startswith("~") else name.lower() for name in self.values("server_name"))
        return [name for name in names if name not in ("", "_")]

    @property
    def listens(self) -> list[Directive]:
        return [one for one in self.directives if one.name == "listen"]

    @property
    def sockets(self) -> dict[str, Directive]:
        """Its listen directives by address and port: "*:80", "[::]:443". The default is *:80."""
        found = {socket_of(one.arguments[0]): one for one in self.listens if one.arguments}
        return found or {"*:80": Directive("listen", ("80",), self.file, self.line)}

    def values(self, name: str) -> list[str]:
        return [value for one in self.directives if one.name == name for value in one.arguments]

    def is_for(self, domains: Sequence[str]) -> bool:
        # ".example.org" is that name and its subdomains.
        return bool({name.removeprefix(".") for name in self.names} & {*domains})

    def __str__(self) -> str:
        return f"{self.file}: server {', '.join(self.names) or 'without a name'}"


def socket_of(address: str) -> str:
    """A listen directive's first argument, normalized: "80" and "0.0.0.0:80" are "*:80"."""
    if address.startswith("unix:"):
        return address
    host, colon, port = address.rpartition(":")
    if address.endswith("]"):
        host, port = address, "80"
    elif not colon:
        host, port = ("*", address) if address.isdigit() else (address, "80")
    host = {"0.0.0.0": "*", "": "*", "[::0]": "[::]"}.get(host, host)  # noqa: S104
    return f"{host}:{port}"


def files_of(dump: str) -> dict[str, str]:
    """The text of each file by its path, the main one first."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in dump.split("\n"):
        if start := FILE.fullmatch(line):
            lines = found.setdefault(start[1], [])
        else:
            lines.append(line)
    return {path: "\n".join(text) for path, text in found.items()}


def parse(text: str, file: str) -> tuple[Directive, ...]:
    """The directives of a valid file; an invalid one is parsed as far as possible."""
    stack: list[tuple[list[str], int, list[Directive]]] = []
    directives: list[Directive] = []
    words: list[str] = []
    line = start = 1
    for token in TOKEN.finditer(text):
        kind = token.lastgroup
        if kind in ("double", "single", "word"):
            start = start if words else line
            words.append(token[kind])
        elif token["end"] == ";" and words:
            directives.append(Directive(words[0], tuple(words[1:]), file, start))
            words = []
        elif token["end"] == "{":
            stack.append((words, start, directives))
            words, directives = [], []
        elif token["end"] == "}" and stack:
            (name, *arguments), at, above = stack.pop()
            above.append(Directive(name, tuple(arguments), file, at, tuple(directives)))
            words, directives = [], above
        line += token[0].count("\n")
    return tuple(directives)


class Tree:
    """A whole configuration, from a dump."""

    def __init__(self, dump: str) -> None:
        self.files = files_of(dump)
        self._parsed: dict[str, tuple[Directive, ...]] = {}

    def directives(self, file: str) -> tuple[Directive, ...]:
        if file not in self._parsed:
            self._parsed[file] = parse(self.files.get(file, ""), file)
        return self._parsed[file]

    def included(self, pattern: str) -> list[str]:
        """The files that an include names, relative to the main file's folder."""
        whole = str(PurePosixPath(MAIN).parent / pattern)
        depth = whole.count("/")
        # A star matches no slash.
        return sorted(file for file in self.files if file.count("/") == depth and fnmatchcase(file, whole))

    def expanded(self, directives: Sequence[Directive], depth: int = 0) -> Iterator[Directive]:
        """Directives with each include replaced by its content."""
        for one in directives:
            if one.name == "include" and one.arguments and depth < 10:
                for file in self.included(one.arguments[0]):
                    yield from self.expanded(self.directives(file), depth + 1)
            elif one.block is not None:
                block = tuple(self.expanded(one.block, depth))
                yield Directive(one.name, one.arguments, one.file, one.line, block)
            else:
                yield one

    @property
    def top(self) -> list[Directive]:
        return list(self.expanded(self.directives(MAIN)))

    @property
    def http(self) -> list[Directive]:
        """The http block's directives, with includes resolved."""
        return [inner for one in self.top if one.name == "http" for inner in one.block or ()]

    @property
    def servers(self) -> list[Server]:
        """The servers in Nginx's order: the first one of a socket is its default."""
        return [Server(one.file, one.line, one.block or ()) for one in self.http if one.name == "server"]

    def certificates(self, server: Server) -> list[tuple[str, str]]:
        """The files of a server's certificates and keys: its own or, if it speaks TLS, those of the http block.
        https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_certificate"""
        is_tls = any(name.endswith(":443") or "ssl" in one.arguments for name, one in server.sockets.items())
        for block in (server.directives, self.http if is_tls else []):
            pair = ("ssl_certificate", "ssl_certificate_key")
            files, keys = ([_absolute(one.arguments[0]) for one in block if one.name == name] for name in pair)
            if files:
                return [*zip(files, keys, strict=False)]
        return []


def _absolute(path: str) -> str:
    """A file that Nginx looks for in the main file's folder unless its path is absolute."""
    return str(PurePosixPath(MAIN).parent / path)


def all_of(directives: Sequence[Directive]) -> Iterator[Directive]:
    """Directives, and those of all their blocks."""
    for one in directives:
        yield one
        yield from all_of(one.block or ())


def is_marked(listen: Directive) -> bool:
    """Whether a server is marked as the default of an address and port."""
    return bool({"default_server", "default"} & {*listen.arguments})


def default_of(servers: Sequence[Server], socket: str) -> Server | None:
    """The default server of an address and port."""
    here = [(server, server.sockets[socket]) for server in servers if socket in server.sockets]
    for server, listen in here:
        if is_marked(listen):
            return server
    return here[0][0] if here else None


def size_of(text: str) -> int:
    """A size in bytes, from "8k"."""
    found = re.fullmatch(r"(\d+)([kmg]?)", text.lower())
    assert found, text
    return int(found[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[found[2]]


def megabytes(size: str) -> int:
    """A size in MiB, rounded up; Nginx's 0, no limit, is the setting's maximum."""
    return -(-size_of(size) // 2**20) or 10240


def seconds(time: str) -> int:
    """A time in seconds, from "60", "60s", "1h 30m"."""
    units = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return round(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd]?)", time)))
