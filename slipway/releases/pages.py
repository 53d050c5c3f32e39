"""The pages of a built frontend: what they load, and what a Content-Security-Policy allows of it.
https://www.w3.org/TR/CSP3/

Installed on the host next to the release program (program.py). Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

# The base URL of pages, which stands for the site's own origin.
SITE = "https://site.invalid"
# Types of script elements that run, or affect others; other types hold data.
# https://html.spec.whatwg.org/multipage/scripting.html#attr-script-type
RUN = {"", "module", "importmap", "speculationrules", "text/javascript", "application/javascript", "text/ecmascript"}
# The CSP directive by element and attribute; for links by rel.
LOADS = {
    ("script", "src"): "script-src",
    ("img", "src"): "img-src",
    ("iframe", "src"): "frame-src",
    ("video", "src"): "media-src",
    ("audio", "src"): "media-src",
    ("source", "src"): "media-src",
    ("object", "data"): "object-src",
    ("embed", "src"): "object-src",
    ("form", "action"): "form-action",
}
LINKS = {
    "stylesheet": "style-src",
    "icon": "img-src",
    "apple-touch-icon": "img-src",
    "manifest": "manifest-src",
    "modulepreload": "script-src",
}
# The fallback of missing directives; navigation directives have none.
FALLBACK = "default-src"
WITHOUT_FALLBACK = {"form-action", "base-uri", "frame-ancestors"}
# What a style sheet loads, from another origin. URLs elsewhere are texts: a licence, the namespace in a data: image.
STYLE_URL = re.compile(r"(?:(@import\s+)(?:url\(\s*)?|url\(\s*)[\"']?((?:https?:)?//[^\"')\s]+)")
STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
FONT = re.compile(r"[.](woff2?|ttf|otf|eot)([?#]|$)", re.IGNORECASE)
# Nginx reads parameters of less than 4096 bytes, and a source that is a hash takes 54: a page's sources are in several.
# The header with all of them must fit into the load balancer's proxy_buffer_size (templates/nginx/pass).
MAX_SOURCES, SOURCE_LISTS = 64, 8
# Google's style sheets load fonts from another origin.
IMPLIED = {("style-src", "https://fonts.googleapis.com"): ("font-src", "https://fonts.gstatic.com")}


class Load(NamedTuple):
    """Something that a page loads: the directive that governs it, and its URL."""

    directive: str
    url: str

    @property
    def origin(self) -> str:
        """Such as "https://cdn.example.org"; "data:" without a host, "" for the site's own."""
        parts = urlsplit(self.url)
        if self.url.startswith(f"{SITE}/"):
            return ""
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


class Page(HTMLParser):
    """A page: what it loads, in order, and its inline scripts and event handlers."""

    def __init__(self, path: str, text: str, domain: str = "") -> None:
        """`path` is the page's path in the site, `domain` the site's host name."""
        super().__init__(convert_charrefs=True)
        self.path, self.domain = path, domain
        self.base = f"{SITE}/{path}"
        self.loads: list[Load] = []
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self._script: list[str] | None = None
        # HTML normalizes line ends before a script is hashed.
        self.feed(text.replace("\r\n", "\n").replace("\r", "\n"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: (value or "").strip() for name, value in attrs}
        if tag == "base" and given.get("href"):
            self.base = urljoin(self.base, given["href"])
        self.handlers += [value for name, value in attrs if name.startswith("on") and value]
        is_run = given.get("type", "").lower() in RUN
        if tag == "script" and is_run and not given.get("src"):
            self._script = []
        for (element, attribute), directive in LOADS.items():
            if tag == element and given.get(attribute) and (tag != "script" or is_run):
                self._load(directive, given[attribute])
        if tag == "link" and given.get("href"):
            for rel in given.get("rel", "").lower().split():
                if rel in LINKS:
                    self._load(LINKS[rel], given["href"])

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self._script.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            self.scripts.append("".join(self._script))
            self._script = None

    def _load(self, directive: str, url: str) -> None:
        url = urljoin(self.base, url)
        own = f"https://{self.domain}/"
        load = Load(directive, SITE + url.removeprefix(own[:-1]) if self.domain and url.startswith(own) else url)
        self.loads.append(load)
        if implied := IMPLIED.get((directive, load.origin)):
            self.loads.append(Load(implied[0], f"{implied[1]}/"))


def pages(folder: str, domain: str) -> Iterator[Page]:
    """The pages below the folder of a build."""
    for path in _files(folder, ".html"):
        yield Page(path, _text(folder, path), domain)


def _files(folder: str, end: str) -> list[str]:
    found = [Path(here, name) for here, _, names in os.walk(folder) for name in names if name.endswith(end)]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _text(folder: str, path: str) -> str:
    return Path(folder, path).read_bytes().decode("utf-8-sig", errors="replace")


def styles(folder: str) -> Iterator[Load]:
    """What the style sheets of a build load from other origins."""
    for path in _files(folder, ".css"):
        for imported, url in STYLE_URL.findall(STYLE_COMMENT.sub("", _text(folder, path))):
            directive = "style-src" if imported else "font-src" if FONT.search(url) else "img-src"
            yield Load(directive, urljoin(f"{SITE}/{path}", url))


# --- A policy


class Policy:
    """A Content-Security-Policy; an empty one allows everything."""

    def __init__(self, text: str) -> None:
        self.directives: dict[str, list[str]] = {}
        for part in text.split(";"):
            name, *sources = part.split() or [""]
            if name and name.lower() not in self.directives:
                self.directives[name.lower()] = sources

    def __str__(self) -> str:
        return "; ".join(" ".join([name, *sources]) for name, sources in self.directives.items())

    def deciding(self, directive: str) -> str:
        """The directive that governs, "" if there is none."""
        chain = [directive] if directive in WITHOUT_FALLBACK else [directive, FALLBACK]
        if directive == "script-src":
            chain.insert(0, "script-src-elem")
        if directive == "frame-src":
            chain.insert(1, "child-src")
        return next((name for name in chain if name in self.directives), "")

    def sources(self, directive: str) -> list[str] | None:
        return self.directives.get(self.deciding(directive))

    def allows(self, load: Load) -> bool:
        sources = self.sources(load.directive)
        # With 'strict-dynamic' origins do not matter.
        return sources is None or "'strict-dynamic'" in sources or any(_matches(one, load.url) for one in sources)

    def needs_hashes(self) -> bool:
        """Whether inline scripts run only by their hashes."""
        sources = self.sources("script-src")
        if sources is None or sources == ["'none'"]:
            return False
        is_by_hash = any(re.match(r"'(nonce|sha\d+)-", one) for one in sources)
        return "'unsafe-inline'" not in sources or is_by_hash

    def allowing(self, loads: Iterable[Load]) -> Policy:
        """This policy with the origins of blocked loads added."""
        new = Policy(str(self))
        for load in loads:
            if new.allows(load):
                continue
            sources = [one for one in new.sources(load.directive) or [] if one != "'none'"]
            # Add to script-src-elem if it is set, else to the directive itself.
            name = new.deciding(load.directive) or load.directive
            new.directives[load.directive if name == FALLBACK else name] = [*sources, load.origin or "'self'"]
        return new


def _matches(source: str, url: str) -> bool:
    """https://www.w3.org/TR/CSP3/#match-url-to-source-expression, without ports and paths of a source."""
    parts = urlsplit(url)
    if source == "'self'":
        return url.startswith(f"{SITE}/")
    if source == "*":
        return parts.scheme in ("http", "https", "ws", "wss")
    if re.fullmatch(r"[a-z][a-z0-9+.-]*:", source, re.IGNORECASE):
        return f"{parts.scheme}:" == source.lower()
    found = re.fullmatch(r"(?:([a-z]+)://)?([\w.*-]+)(?::[\d*]+)?(?:/.*)?", source, re.IGNORECASE)
    if not found or (found[1] and found[1].lower() != parts.scheme):
        return False
    host, wanted = parts.hostname or "", found[2].lower()
    return host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted


def with_scripts(policy: str, hashes: str) -> str:
    """A policy that also allows scripts with these hashes; `hashes` may be an Nginx variable."""
    new = Policy(policy)
    sources = [one for one in new.sources("script-src") or [] if one != "'none'"]
    name = new.deciding("script-src")
    new.directives["script-src" if name == FALLBACK else name] = [*sources, hashes]
    return str(new)


# --- Problems and hints of a build


def nginx_map(policy: str, folders: Iterable[str]) -> str:
    """Lines of an Nginx map from a page's URI to the CSP sources that allow its inline scripts and event handlers:
    '"/index.html" "'sha256-...'";'. Those that are too many for one parameter have further keys, "1/index.html" and so
    on. Empty if the policy needs none. Raises ValueError if they are too many for a header."""
    if not Policy(policy).needs_hashes():
        return ""
    sources: dict[str, set[str]] = {}
    for page in (page for folder in folders for page in pages(folder, "")):
        runs = {_hash(text) for text in [*page.scripts, *page.handlers]}
        runs |= {"'unsafe-hashes'"} if page.handlers else set()
        if runs:
            # Nginx takes keys that differ in the case of ASCII letters for the same.
            sources.setdefault(os.fsdecode(os.fsencode(f"/{page.path}").lower()), set()).update(runs)
    lines = []
    for uri, found in sorted(sources.items()):
        lists = [sorted(found)[at : at + MAX_SOURCES] for at in range(0, len(found), MAX_SOURCES)]
        if len(lists) > SOURCE_LISTS:
            raise ValueError(
                f"{uri[1:]}: found {len(found)} inline scripts and event handlers in the pages of the kept releases,"
                f" expected at most {MAX_SOURCES * SOURCE_LISTS}, as each one's hash is in a header; let the build"
                " write scripts to files, lower keep_releases, or add 'unsafe-inline' to script-src in nginx_csp"
            )
        # The second form is Nginx's URI for a path with a trailing slash.
        for one in dict.fromkeys([uri, re.sub(r"/index[.]html$", "//index.html", uri)]):
            for number, some in enumerate(lists):
                key, gap = (f"{number}{one}", " ") if number else (one, "")
                lines.append(f'{_quoted(key)} "{gap}{" ".join(some)}";')
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode(errors="replace")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def problems(folder: str, policy: str, assets: str, domain: str, locations: Collection[str] = ()) -> list[str]:
    """Why a build would not work: scripts that are missing or that the policy blocks; hashed files in another folder
    than that of `assets`, a URL path, "" for none. `locations` are the Nginx locations of services, "= /config.js" or
    "/api/"."""
    found, all_pages = [], [*pages(folder, domain)]
    if assets and not _has_files(f"{folder}{assets}"):
        named = [_path(load) for page in all_pages for load in page.loads if _path(load).endswith((".js", ".css"))]
        places = sorted({f"{path.rpartition('/')[0]}/" for path in named} - {"/"})
        if places:
            found.append(
                f"frontend_assets: found {assets!r}, no files in that folder of the build; the pages load files from"
                f" {', '.join(places)}"
            )
    for page in all_pages:
        scripts = [load for load in page.loads if load.directive == "script-src"]
        own = [path for path in map(_path, scripts) if path and not _is_answered(path, locations)]
        missing = [path for path in own if not Path(f"{folder}{path}").is_file()]
        if missing:
            found.append(f"{page.path} would be blank: it loads {missing[0]}, which the build lacks")
        found += _blocked(page, scripts, Policy(policy))
    return found


def _blocked(page: Page, scripts: list[Load], policy: Policy) -> Iterator[str]:
    blocked = [load for load in scripts if not policy.allows(load)]
    own = [_path(load) for load in blocked if not load.origin]
    is_blank = own or (blocked and len(blocked) == len(scripts) and not page.scripts)
    inline = page.scripts and policy.sources("script-src") == ["'none'"]
    if is_blank or inline:
        what = own[0] if own else blocked[0].url if blocked else "its inline script"
        yield (
            f"{page.path} would be blank: nginx_csp blocks {what}; expected a policy that allows it, as"
            f' nginx_csp = "{policy.allowing([*blocked, *([Load("script-src", f"{SITE}/")] if inline else [])])}"'
        )


def _path(load: Load) -> str:
    """The path of a load from the site itself, otherwise ""."""
    return unquote(urlsplit(load.url).path) if not load.origin else ""


def _is_answered(path: str, locations: Collection[str]) -> bool:
    return f"= {path}" in locations or any(path.startswith(one) for one in locations)


def _has_files(folder: str) -> bool:
    return any(names for _, _, names in os.walk(folder))


def hints(folder: str, policy: str, domain: str) -> list[str]:
    """Other origins that the pages and style sheets of a build load from and the policy blocks, with a policy that
    allows them."""
    known = Policy(policy)
    blocked: dict[tuple[str, str], Load] = {}
    for load in [*(load for page in pages(folder, domain) for load in page.loads), *styles(folder)]:
        if load.origin and not known.allows(load):
            blocked.setdefault((load.origin, load.directive), load)
    if not blocked:
        return []
    named = ", ".join(f"{origin} ({directive})" for origin, directive in sorted(blocked))
    allowing = known.allowing(blocked.values())
    return [f'nginx_csp blocks what the pages load: {named}. To allow it: nginx_csp = "{allowing}"']
