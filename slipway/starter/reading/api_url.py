"""Where a frontend looks for its API: a variable of its build, or an address in its code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from slipway.starter.reading import compose, fixed_addresses, proxies
from slipway.starter.reading.files import Place, Repository, dotenv, folder_of, line_of
from slipway.starter.reading.fixed_addresses import LOCAL, NOT_ASKED, NOT_THE_API
from slipway.starter.reading.frontend import Frontend, sources, uncommented
from slipway.starter.reading.handlers import handlers
from slipway.starter.reading.script_variables import Uses, has_computed, optional, variables

# Files that a production build reads, the last one wins; untracked ones may be missing elsewhere.
FOR_PRODUCTION = (".env", ".env.local", ".env.production", ".env.production.local")
EXAMPLES = (
    ".env.production.example",
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.local.example",
    ".env.development",
    ".env.dev",
    "env.example",
)
_NAMED_SO = re.compile(
    r"(^|_)(API|BACKEND|SERVER|WS|WEBSOCKET|SOCKET|FASTAPI|BASE)(_|$).*|(^|_)(API|BACKEND|SERVER|BASE)?_?(UR[LI]|ENDPOINT|ORIGIN)$"
)
_LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?")
# What a build reads beside the sources.
_CONFIGURATIONS = re.compile(
    r"(?:next|vite|nuxt|vue|astro|svelte|webpack|rspack|rsbuild|craco|gatsby)[.-]config\.(?:js|ts|mjs|mts|cjs|cts)"
)
# Variables that tools and hosting providers set.
_OF_TOOLS = re.compile(
    r"(NODE_ENV|PORT|HOST|HOSTNAME|CI|ANALYZE|NEXT_RUNTIME|NEXT_PRIVATE_\w*|VERCEL\w*|NETLIFY\w*|CF_\w*|DEBUG)$"
)


@dataclass(frozen=True)
class ApiVariable:
    """A variable with the API's address. `value` is what a build reads now, "" for nothing; `example` is a development
    address. `is_websocket`: it begins with ws; `is_host`: it has no scheme; `is_container`: that of a container."""

    name: str
    place: Place
    value: str = ""
    value_place: Place | None = None
    example: str = ""
    is_websocket: bool = False
    is_host: bool = False
    is_container: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the address is the visitor's own machine or a container, or empty."""
        if _LOCAL_HOST.fullmatch(self.value or self.example):
            return True
        return (
            self.is_container
            or bool(LOCAL.match(self.value))
            or (not self.value and (self.example[:1] in ("", "/") or bool(LOCAL.match(self.example))))
        )

    @property
    def other_host(self) -> str:
        """The host name of a complete address, "" for none."""
        return urlsplit(self.value).hostname or "" if re.match(r"(https?|wss?)://", self.value) else ""

    @property
    def path(self) -> str:
        """The path in its address, such as "/api"; "" for none."""
        known = self.value or self.example
        if "://" in known:
            return urlsplit(known).path.rstrip("/")
        return known.rstrip("/") if known.startswith("/") else ""

    def public(self, domain: str, prefix: str = "") -> str:
        """Its value for visitors; `prefix` is the API's path if the address has none."""
        if self.is_host:
            return domain
        return f"{'wss' if self.is_websocket else 'https'}://{domain}{self.path or prefix}"


@dataclass
class Api:
    variables: list[ApiVariable] = field(default_factory=list)
    # Addresses of the developer's machine in the code, without a variable that overrides them.
    fixed: list[tuple[str, Place]] = field(default_factory=list)
    # Those of another host that are probably the API's.
    elsewhere: list[tuple[str, Place]] = field(default_factory=list)
    # Ports of the site's host that the code requests, and whether by a plain WebSocket.
    ports: list[tuple[str, bool, Place]] = field(default_factory=list)
    # Whether the code requests relative paths "/api/...".
    asks_below_api: bool = False
    # Prefixes that a development server, or a container's Nginx, strips for the backend.
    stripped: list[tuple[str, Place]] = field(default_factory=list)
    # Other variables that the program reads that makes the pages.
    of_server: dict[str, Place] = field(default_factory=dict)
    # Other variables that the build needs and that no file gives.
    unset: dict[str, Place] = field(default_factory=dict)
    # The paths that the program that makes the pages answers itself.
    handlers: dict[str, Place] = field(default_factory=dict)
    # The frontend's own routes.
    pages: dict[str, Place] = field(default_factory=dict)


def configurations(repository: Repository, folder: str) -> Iterator[str]:
    """The files that configure a build."""
    return (
        file
        for file in repository.below(folder)
        if folder_of(file) == folder and _CONFIGURATIONS.fullmatch(file.rpartition("/")[2])
    )


def api(repository: Repository, frontend: Frontend) -> Api:
    found = Api()
    read: dict[str, tuple[Place, str]] = {}
    may_lack: set[str] = set()
    needed: set[str] = set()
    for file in configurations(repository, frontend.folder):
        text = uncommented(repository.read(file) or "")
        needed |= proxies.needed(text)
        for name, place, fallback in variables(file, text):
            is_public = bool(frontend.prefix) and name.startswith(frontend.prefix)
            # Not of a proxy of the development server, and not of the build's own options.
            if name in needed or (is_public and not NOT_ASKED.search(text.split("\n")[place.line - 1])):
                read.setdefault(name, (place, fallback))
        may_lack |= optional(text)
    texts = {file: uncommented(text) for file, text in _scripts(repository, frontend)}
    at_run_time = {file: repository.read(file) or "" for file in fixed_addresses.settings(repository, frontend.folder)}
    prefix = frontend.prefix if any(map(has_computed, texts.values())) else ""
    for file, text in texts.items():
        for name, place, fallback in variables(file, text, prefix):
            if name not in read or (fallback and not read[name][1]):
                read[name] = (place, fallback)
        may_lack |= optional(text, prefix)
        found.asks_below_api = found.asks_below_api or bool(re.search(r"['\"`}]/api(/|['\"`])", text))
        for match in re.finditer(r"\bpath\s*[=:]\s*\{?\s*['\"]/?([\w-]+)(?:/[^'\"]*)?['\"]", text):
            found.pages.setdefault(match[1], Place(file, line_of(text, match.start())))
    # What is set when the pages run is none of the build's.
    set_later = {name for text in at_run_time.values() for name in re.findall(r"\b(\w+)['\"]?\s*:", text)}
    direct = {name for file, text in texts.items() for name, _, _ in variables(file, text)} if set_later else set()
    for name in (set_later - direct - needed) & read.keys():
        del read[name]
    may_lack -= needed
    uses = Uses([*texts.values()])
    hosts = {name for name in compose.hosts(repository) if "." not in name}
    found.variables = [
        replace(
            one,
            is_host=uses.is_host(one.name, f"{one.value} {one.example}"),
            is_container=compose.is_at(one.value, hosts) or (not one.value and _is_at(one.example, hosts)),
        )
        for one in _api_variables(repository, frontend, read, hosts)
        if one.value or one.name not in uses.or_location
    ]
    for file, text in {**texts, **at_run_time}.items():
        found.fixed += fixed_addresses.local(file, text)
        found.elsewhere += fixed_addresses.elsewhere(file, text, bool(found.variables))
        found.ports += fixed_addresses.ports(file, text)
    found.handlers = dict(handlers(repository, frontend))
    known = {one.name for one in found.variables}
    given = {name for file in FOR_PRODUCTION for name in _values(repository, frontend.folder, file)}
    # What the build sets.
    given |= {one.name for one in found.variables if one.is_local or one.value}
    script = repository.read(frontend.place.file) or ""
    found.unset = {
        name: place
        for name, (place, fallback) in read.items()
        if frontend.prefix and name.startswith(frontend.prefix) and name not in {*given, *may_lack}
        if not fallback and not _OF_TOOLS.match(name) and f"{name}=" not in script
    }
    if frontend.server:
        found.of_server = {
            name: place
            for name, (place, fallback) in read.items()
            if not fallback and name not in known and not name.startswith(frontend.prefix) and not _OF_TOOLS.match(name)
        }
    found.stripped = [*proxies.stripped(repository)]
    return found


def _scripts(repository: Repository, frontend: Frontend) -> Iterator[tuple[str, str]]:
    for file in sources(repository, frontend.folder):
        text = repository.read(file) or ""
        # Not a bundle.
        if len(text) <= 300_000:
            yield file, text


def _api_variables(
    repository: Repository, frontend: Frontend, read: dict[str, tuple[Place, str]], hosts: set[str]
) -> Iterator[ApiVariable]:
    texts = {name: _values(repository, frontend.folder, name) for name in (*FOR_PRODUCTION, *EXAMPLES)}
    # A container gets them from there.
    above = {name: _values(repository, "", name) for name in EXAMPLES}
    of_containers = compose.environment(repository)
    for name, (place, fallback) in read.items():
        bare = name.removeprefix(frontend.prefix).upper()
        # A program that makes pages reads others, too.
        is_read = name.startswith(frontend.prefix) or frontend.server is not None
        if not is_read or NOT_THE_API.search(bare):
            continue
        value, where = fallback, place if fallback else None
        for file in FOR_PRODUCTION:
            if name in texts[file]:
                value, line = texts[file][name]
                where = Place(f"{frontend.folder}/{file}".lstrip("/"), line)
        places = [texts, above]
        example = next((one[file][name][0] for one in places for file in EXAMPLES if name in one[file]), "")
        in_container = of_containers.get(name, "")
        if not example and (LOCAL.match(in_container) or _is_at(in_container, hosts)):
            example = in_container
        is_address = any(re.match(r"(https?|wss?)://|/", one) for one in (value, example) if one)
        if not _NAMED_SO.search(bare) or (
            not is_address and not re.search(r"UR[LI]|ENDPOINT|ORIGIN|BASE|API$|HOST", bare)
        ):
            continue
        is_websocket = value.startswith("ws") or example.startswith("ws") or bare.startswith(("WS", "WEBSOCKET"))
        yield ApiVariable(name, place, value, where, example, is_websocket)


def _is_at(example: str, hosts: set[str]) -> bool:
    """Whether an example is the address of a container that speaks HTTP, rather than any word."""
    return bool(re.match(r"(https?|wss?)://|[\w-]+:\d", example)) and compose.is_at(example, hosts)


def _values(repository: Repository, folder: str, file: str) -> dict[str, tuple[str, int]]:
    return dotenv(repository.read(f"{folder}/{file}".lstrip("/")) or "")
