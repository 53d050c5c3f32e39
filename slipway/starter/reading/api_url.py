"""Where a frontend looks for its API: a variable of its build, or an address in its code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from urllib.parse import urlsplit

from slipway.starter.reading import compose
from slipway.starter.reading.files import Place, Repository, dotenv, folder_of, line_of
from slipway.starter.reading.frontend import Frontend, sources, uncommented
from slipway.starter.reading.handlers import handlers

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
_READ = re.compile(
    r"(?:import\.meta\.env|process\.env|runtimeConfig\.public|\$env/static/public)(?:\.|\[['\"])([A-Za-z_]\w*)"
)
# SvelteKit's. https://svelte.dev/docs/kit/$env-dynamic-private
_IMPORTED = re.compile(r"import\s*\{([^}]*)\}\s*from\s*['\"]\$env/static/(?:public|private)['\"]")
_DYNAMIC = re.compile(r"import\s*\{\s*env(?:\s+as\s+(\w+))?\s*\}\s*from\s*['\"]\$env/dynamic/(?:public|private)['\"]")
_FALLBACK = re.compile(r"['\"]?\]?\s*(?:\|\||\?\?|\?[^:\n]{0,80}:)\s*\(?\s*['\"`]([^'\"`\n]*)['\"`]")
_NAMED_SO = re.compile(
    r"(^|_)(API|BACKEND|SERVER|WS|WEBSOCKET|SOCKET|FASTAPI|BASE)(_|$).*|(^|_)(API|BACKEND|SERVER|BASE)?_?(UR[LI]|ENDPOINT|ORIGIN)$"
)
_NOT_THE_API = re.compile(
    r"KEY|TOKEN|SECRET|CLIENT_ID|PUBLIC_URL$|VERSION"
    r"|TIMEOUT|GOOGLE|MAPS?_|FACEBOOK|STRIPE|KEYCLOAK|AUTH0|SUPABASE|FIREBASE|SENTRY|CDN|MOCK|GITHUB|S3|BUCKET|CLOUDINARY|LOGO|IMAGE"
)
LOCAL = re.compile(r"(?:https?|wss?)://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?[^\s'\"`<>)]*")
_LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?")
# What comes before a host, and before an address that a text begins with.
_AFTER_SCHEME = re.compile(r"(?:https?|wss?|['\"`}]):?//['\"`]?\s*(?:\+\s*|\$\{)\(?\s*(?:window\.)?$")
_BEGINS = re.compile(r"`\$\{\(?\s*(?:window\.)?$")
# What the address of the page itself replaces.
_OR_LOCATION = re.compile(r"['\"]?\]?\s*(?:\|\||\?\?)\s*\(?\s*(?:(?:window|self|globalThis|document)\.)?location\b")
# What a build reads beside the sources.
_CONFIGURATIONS = re.compile(
    r"(?:next|vite|nuxt|vue|astro|svelte|webpack|rspack|rsbuild|craco|gatsby)[.-]config\.(?:js|ts|mjs|mts|cjs|cts)"
)
_DESTINATION = re.compile(r"destination\s*:[^\n]*?process\.env(?:\.|\[['\"])(\w+)")
# A rewrite of Next.js that strips a prefix: "/api/:path*" to "http://localhost:8000/:path*".
_REWRITTEN = re.compile(
    r"source\s*:\s*['\"`](/\w[\w/-]*)/:\w+\*['\"`]\s*,\s*destination\s*:\s*[^\n]*?(?:\}|:\d+|['\"`])/:\w+\*"
)
# What comes before an address that a variable overrides.
_OVERRIDDEN = re.compile(r"(?:import\.meta\.env|process\.env|\benv\.)[^\n]*(?:\|\||\?)")
# Lines with a development address that browsers do not request.
_NOT_ASKED = re.compile(r"console\.|\bproxy\b|target\s*:|placeholder|example|data-testid|schema\.org|w3\.org")
# What comes after a variable that may be missing: another value, or a comparison.
_OPTIONAL = re.compile(r"['\"]?\]?\s*(?:\|\||\?\?|\?(?!\.)|[=!]==?|&&)")
_ASKED = re.compile(r"(?:if\s*\(\s*|!\s*|typeof\s+|console\.\w+\([^\n)]*)$")
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
        if self.is_host and _LOCAL_HOST.fullmatch(self.value or self.example):
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


class _Uses:
    """How the code uses variables."""

    def __init__(self, texts: list[str]) -> None:
        self.after_scheme: set[str] = set()
        self.beginning: set[str] = set()
        self.or_location: set[str] = set()
        for text in texts:
            for match in _READ.finditer(text):
                before = text[max(0, match.start() - 60) : match.start()]
                if _AFTER_SCHEME.search(before):
                    self.after_scheme.add(match[1])
                elif _BEGINS.search(before):
                    self.beginning.add(match[1])
                if _OR_LOCATION.match(text, match.end()):
                    self.or_location.add(match[1])

    def is_host(self, one: ApiVariable) -> bool:
        """Whether a variable has a host alone: by what comes before it, or by its name."""
        if "://" in f"{one.value} {one.example}":
            return False
        is_named = re.search(r"HOST(NAME)?$", one.name) and one.name not in self.beginning
        return one.name in self.after_scheme or bool(is_named)


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
    optional: set[str] = set()
    needed: set[str] = set()
    for file in configurations(repository, frontend.folder):
        text = uncommented(repository.read(file) or "")
        needed |= {*_DESTINATION.findall(text)}
        for name, place, fallback in _variables(file, text):
            is_public = bool(frontend.prefix) and name.startswith(frontend.prefix)
            # Not of a proxy of the development server, and not of the build's own options.
            if name in needed or (is_public and not _NOT_ASKED.search(text.split("\n")[place.line - 1])):
                read.setdefault(name, (place, fallback))
        optional |= _optional(text)
    texts: list[str] = []
    for file in sources(repository, frontend.folder):
        text = repository.read(file) or ""
        if len(text) > 300_000:
            # A bundle.
            continue
        text = uncommented(text)
        texts.append(text)
        for name, place, fallback in _variables(file, text):
            if name not in read or (fallback and not read[name][1]):
                read[name] = (place, fallback)
        optional |= _optional(text)
        found.fixed += _fixed(file, text)
        found.asks_below_api = found.asks_below_api or bool(re.search(r"['\"`}]/api(/|['\"`])", text))
        for match in re.finditer(r"\bpath\s*[=:]\s*\{?\s*['\"]/?([\w-]+)(?:/[^'\"]*)?['\"]", text):
            found.pages.setdefault(match[1], Place(file, line_of(text, match.start())))
    optional -= needed
    uses = _Uses(texts)
    hosts = compose.hosts(repository)
    found.variables = [
        replace(
            one,
            is_host=uses.is_host(one),
            is_container=compose.is_at(one.value, hosts) and "." not in one.other_host,
        )
        for one in _api_variables(repository, frontend, read)
        if one.value or one.name not in uses.or_location
    ]
    found.handlers = dict(handlers(repository, frontend))
    known = {one.name for one in found.variables}
    given = {name for file in FOR_PRODUCTION for name in _values(repository, frontend.folder, file)}
    # What the build sets.
    given |= {one.name for one in found.variables if one.is_local or one.value}
    script = repository.read(frontend.place.file) or ""
    found.unset = {
        name: place
        for name, (place, fallback) in read.items()
        if frontend.prefix and name.startswith(frontend.prefix) and name not in {*given, *optional}
        if not fallback and not _OF_TOOLS.match(name) and f"{name}=" not in script
    }
    if frontend.server:
        found.of_server = {
            name: place
            for name, (place, fallback) in read.items()
            if not fallback and name not in known and not name.startswith(frontend.prefix) and not _OF_TOOLS.match(name)
        }
    found.stripped = [*_stripped(repository, frontend)]
    return found


def _variables(file: str, text: str) -> Iterator[tuple[str, Place, str]]:
    of_env = [re.compile(rf"\b{one[1] or 'env'}\.([A-Z_][A-Z0-9_]*)\b") for one in _DYNAMIC.finditer(text)]
    for match in chain(_READ.finditer(text), *(one.finditer(text) for one in of_env)):
        fallback = _FALLBACK.match(text, match.end())
        yield match[1], Place(file, line_of(text, match.start())), fallback[1] if fallback else ""
    for match in _IMPORTED.finditer(text):
        for name in re.findall(r"\w+", match[1]):
            yield name, Place(file, line_of(text, match.start())), ""


def _optional(text: str) -> set[str]:
    """The variables that a text reads as if they may be missing."""
    return {
        match[1]
        for match in _READ.finditer(text)
        if _OPTIONAL.match(text, match.end()) or _ASKED.search(text, max(0, match.start() - 80), match.start())
    }


def _api_variables(
    repository: Repository, frontend: Frontend, read: dict[str, tuple[Place, str]]
) -> Iterator[ApiVariable]:
    texts = {name: _values(repository, frontend.folder, name) for name in (*FOR_PRODUCTION, *EXAMPLES)}
    # A container gets them from there.
    above = {name: _values(repository, "", name) for name in EXAMPLES}
    for name, (place, fallback) in read.items():
        bare = name.removeprefix(frontend.prefix).upper()
        # A program that makes pages reads others, too.
        is_read = name.startswith(frontend.prefix) or frontend.server is not None
        if not is_read or _NOT_THE_API.search(bare):
            continue
        value, where = fallback, place if fallback else None
        for file in FOR_PRODUCTION:
            if name in texts[file]:
                value, line = texts[file][name]
                where = Place(f"{frontend.folder}/{file}".lstrip("/"), line)
        places = [texts, above]
        example = next((one[file][name][0] for one in places for file in EXAMPLES if name in one[file]), "")
        is_address = any(re.match(r"(https?|wss?)://|/", one) for one in (value, example) if one)
        if not _NAMED_SO.search(bare) or (
            not is_address and not re.search(r"UR[LI]|ENDPOINT|ORIGIN|BASE|API$|HOST", bare)
        ):
            continue
        is_websocket = value.startswith("ws") or example.startswith("ws") or bare.startswith(("WS", "WEBSOCKET"))
        yield ApiVariable(name, place, value, where, example, is_websocket)


def _values(repository: Repository, folder: str, file: str) -> dict[str, tuple[str, int]]:
    return dotenv(repository.read(f"{folder}/{file}".lstrip("/")) or "")


def _fixed(file: str, text: str) -> Iterator[tuple[str, Place]]:
    for match in LOCAL.finditer(text):
        begin = text.rfind("\n", 0, match.start()) + 1
        before = text[begin : match.start()]
        around = text[max(begin, match.start() - 160) : match.start()]
        if _NOT_ASKED.search(before) or _OVERRIDDEN.search(text[max(0, match.start() - 200) : match.start()]):
            continue
        if re.search(r"['\"`]\s*$", around) or file.endswith(".html"):
            yield match[0], Place(file, line_of(text, match.start()))


def _stripped(repository: Repository, frontend: Frontend) -> Iterator[tuple[str, Place]]:
    """The prefixes that a proxy in the repository strips."""
    for file in repository.files:
        name = file.rpartition("/")[2]
        if name.startswith("vite.config") or name in ("setupProxy.js", "proxy.conf.json", "vue.config.js"):
            text = uncommented(repository.read(file) or "")
            for match in re.finditer(r"(?:rewrite|pathRewrite)\b[^\n]*?\^?\\?(/\w[\w/-]*)", text):
                yield match[1].replace("\\", "").rstrip("/"), Place(file, line_of(text, match.start()))
        elif name.startswith("next.config"):
            text = uncommented(repository.read(file) or "")
            for match in _REWRITTEN.finditer(text):
                yield match[1], Place(file, line_of(text, match.start()))
        elif name.endswith(".conf"):
            text = repository.read(file) or ""
            for match in re.finditer(
                r"location\s+(?:\^~\s*)?(/\w[\w/-]*/?)\s*\{[^}]*?proxy_pass\s+https?://[\w.:-]+/[;\s]", text
            ):
                yield match[1].rstrip("/"), Place(file, line_of(text, match.start()))
