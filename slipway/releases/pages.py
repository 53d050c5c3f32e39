"""The pages of a built frontend, read as a browser reads them: what they load, and what a Content-Security-Policy makes
of it. https://www.w3.org/TR/CSP3/

Installed on the host beside the release program (program.py). Standard library only, Python 3.11 or later.
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

# Where a page is, for the links in it: no other place than the site's own.
SITE = "https://site.invalid"
# Types of a script element that are run, or change what others run; others hold data.
# https://html.spec.whatwg.org/multipage/scripting.html#attr-script-type
RUN = {"", "module", "importmap", "speculationrules", "text/javascript", "application/javascript", "text/ecmascript"}
# The directive of what an element loads, by its name and attribute; of a link, by its rel.
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
# What a policy without a directive has in its place; none for those that navigate.
FALLBACK = "default-src"
WITHOUT_FALLBACK = {"form-action", "base-uri", "frame-ancestors"}
FONT = re.compile(r"[.](woff2?|ttf|otf|eot)([?#]|$)", re.IGNORECASE)
# Google's style sheets load fonts from elsewhere.
IMPLIED = {("style-src", "https://fonts.googleapis.com"): ("font-src", "https://fonts.gstatic.com")}


class Load(NamedTuple):
    """Something that a page loads: the directive that decides on it, and its URL."""

    directive: str
    url: str

    @property
    def origin(self) -> str:
        """Such as "https://cdn.example.org"; "data:" of what has none, and "" of the site's own."""
        parts = urlsplit(self.url)
        if self.url.startswith(f"{SITE}/"):
            return ""
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


class Page(HTMLParser):
    """A page: what it loads, in order, and the scripts and event handlers that are in it."""

    def __init__(self, path: str, text: str, domain: str = "") -> None:
        """`path` is the page's in its site, `domain` the site's host name."""
        super().__init__(convert_charrefs=True)
        self.path, self.domain = path, domain
        self.base = f"{SITE}/{path}"
        self.loads: list[Load] = []
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self._script: list[str] | None = None
        # What HTML does to the ends of lines, before a script is hashed.
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
    """What the style sheets of a build load from elsewhere."""
    for path in _files(folder, ".css"):
        for imported, url in re.findall(
            r"(@import\s+)?(?:url\(\s*)?[\"']?((?:https?:)?//[^\"')\s]+)", _text(folder, path)
        ):
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
        """The directive that decides, "" where none does."""
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
        # What trusts scripts by a nonce or by whoever loads them, no origin decides on.
        return sources is None or "'strict-dynamic'" in sources or any(_matches(one, load.url) for one in sources)

    def needs_hashes(self) -> bool:
        """Whether scripts in a page are run by their hashes alone."""
        sources = self.sources("script-src")
        if sources is None or sources == ["'none'"]:
            return False
        is_by_hash = any(re.match(r"'(nonce|sha\d+)-", one) for one in sources)
        return "'unsafe-inline'" not in sources or is_by_hash

    def allowing(self, loads: Iterable[Load]) -> Policy:
        """This policy with the origins of what it would block."""
        new = Policy(str(self))
        for load in loads:
            if new.allows(load):
                continue
            sources = [one for one in new.sources(load.directive) or [] if one != "'none'"]
            # script-src-elem is where it is set; all else has the directive's own name.
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
    """A policy that also runs what has these hashes; `hashes` may be a variable of Nginx's."""
    new = Policy(policy)
    sources = [one for one in new.sources("script-src") or [] if one != "'none'"]
    name = new.deciding("script-src")
    new.directives["script-src" if name == FALLBACK else name] = [*sources, hashes]
    return str(new)


# --- What is to be said of a build


def nginx_map(policy: str, folders: Iterable[str]) -> str:
    """Lines of a map of Nginx's from a page's URI to the sources that run the scripts and event handlers in it, for the
    pages of builds: '"/index.html" "'sha256-...'";'. Empty where they need none."""
    if not Policy(policy).needs_hashes():
        return ""
    sources: dict[str, set[str]] = {}
    for page in (page for folder in folders for page in pages(folder, "")):
        runs = {_hash(text) for text in [*page.scripts, *page.handlers]}
        runs |= {"'unsafe-hashes'"} if page.handlers else set()
        if runs:
            sources.setdefault(f"/{page.path}", set()).update(runs)
    lines = []
    for uri, found in sorted(sources.items()):
        # As Nginx finds it for a path with a slash at its end.
        for one in dict.fromkeys([uri, re.sub(r"/index[.]html$", "//index.html", uri)]):
            lines.append(f'{_quoted(one)} "{" ".join(sorted(found))}";')
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode(errors="replace")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def problems(folder: str, policy: str, assets: str, domain: str, locations: Collection[str] = ()) -> list[str]:
    """Why visitors would not see a build as it is meant: scripts that are not there, or that the policy blocks; hashed
    files that are in another folder than that of `assets`, a URL path, "" for none. `locations` are those of Nginx
    that a service answers, "= /config.js" or "/api/"."""
    found, all_pages = [], [*pages(folder, domain)]
    if assets and not _has_files(f"{folder}{assets}"):
        named = [_path(load) for page in all_pages for load in page.loads if _path(load).endswith((".js", ".css"))]
        places = sorted({f"{path.rpartition('/')[0]}/" for path in named} - {"/"})
        if places:
            found.append(
                f"frontend_assets: found {assets!r}, and no files in that folder of the build; the pages name files in"
                f" {', '.join(places)}"
            )
    for page in all_pages:
        scripts = [load for load in page.loads if load.directive == "script-src"]
        own = [path for path in map(_path, scripts) if path and not _is_answered(path, locations)]
        missing = [path for path in own if not Path(f"{folder}{path}").is_file()]
        if missing:
            found.append(f"{page.path} would be blank: it names {missing[0]}, which the build has not")
        found += _blocked(page, scripts, Policy(policy))
    return found


def _blocked(page: Page, scripts: list[Load], policy: Policy) -> Iterator[str]:
    blocked = [load for load in scripts if not policy.allows(load)]
    own = [_path(load) for load in blocked if not load.origin]
    is_blank = own or (blocked and len(blocked) == len(scripts) and not page.scripts)
    inline = page.scripts and policy.sources("script-src") == ["'none'"]
    if is_blank or inline:
        what = own[0] if own else blocked[0].url if blocked else "the script in it"
        yield (
            f"{page.path} would be blank: nginx_csp blocks {what}; expected a policy that allows it, as"
            f' nginx_csp = "{policy.allowing([*blocked, *([Load("script-src", f"{SITE}/")] if inline else [])])}"'
        )


def _path(load: Load) -> str:
    """The path of what is the site's own, "" of all else."""
    return unquote(urlsplit(load.url).path) if not load.origin else ""


def _is_answered(path: str, locations: Collection[str]) -> bool:
    return f"= {path}" in locations or any(path.startswith(one) for one in locations)


def _has_files(folder: str) -> bool:
    return any(names for _, _, names in os.walk(folder))


def hints(folder: str, policy: str, domain: str) -> list[str]:
    """Other origins that the pages and the style sheets of a build name and a policy blocks, with one that allows
    them."""
    known = Policy(policy)
    blocked: dict[tuple[str, str], Load] = {}
    for load in [*(load for page in pages(folder, domain) for load in page.loads), *styles(folder)]:
        if load.origin and not known.allows(load):
            blocked.setdefault((load.origin, load.directive), load)
    if not blocked:
        return []
    named = ", ".join(f"{origin} ({directive})" for origin, directive in sorted(blocked))
    allowing = known.allowing(blocked.values())
    return [f'nginx_csp blocks what the pages name: {named}. To allow it: nginx_csp = "{allowing}"']
