"""Finds which prefixes of paths a frontend's proxies strip: a development server, Next.js, a container's Nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slipway.starter.reading.files import Place, Repository, line_of
from slipway.starter.reading.frontend import uncommented

_REWRITE = re.compile(r"\b(?:rewrite|pathRewrite)\b")
# "/api/:path*" of Next.js, and what it becomes without its prefix: "http://localhost:8000/:path*".
_SOURCE = re.compile(r"\bsource\s*:\s*['\"`](/\w[\w/-]*)/:\w+\*['\"`]")
_BARE = re.compile(r"(?:\}|:\d+|['\"`])/:\w+\*")
_DESTINATION = re.compile(r"\bdestination\s*:")
_MAX_VALUE = 1000


def stripped(repository: Repository) -> Iterator[tuple[str, Place]]:
    """The prefixes that a proxy in the repository strips."""
    for file in repository.files:
        name = file.rpartition("/")[2]
        if name.startswith("vite.config") or name in ("setupProxy.js", "proxy.conf.json", "vue.config.js"):
            text = uncommented(repository.read(file) or "")
            for match in _REWRITE.finditer(text):
                if prefix := re.search(r"\^?\\?(/\w[\w/-]*)", _value(text, match.end())):
                    yield prefix[1].rstrip("/"), Place(file, line_of(text, match.start()))
        elif name.startswith("next.config"):
            text = uncommented(repository.read(file) or "")
            for match in _SOURCE.finditer(text):
                if (to := _DESTINATION.search(its := _rest(text, match.end()))) and _BARE.search(its, to.end()):
                    yield match[1], Place(file, line_of(text, match.start()))
        elif name.endswith(".conf"):
            text = repository.read(file) or ""
            for match in re.finditer(
                r"location\s+(?:\^~\s*)?(/\w[\w/-]*/?)\s*\{[^}]*?proxy_pass\s+https?://[\w.:-]+/[;\s]", text
            ):
                yield match[1].rstrip("/"), Place(file, line_of(text, match.start()))


def needed(text: str) -> set[str]:
    """The variables in the destinations of Next.js's rewrites."""
    values = [_value(text, match.end()) for match in _DESTINATION.finditer(text)]
    return {name for value in values for name in re.findall(r"process\.env(?:\.|\[['\"])(\w+)", value)}


def _value(text: str, begin: int) -> str:
    """The value of a property that begins there, over however many lines."""
    return _until(text, begin, ",")


def _rest(text: str, begin: int) -> str:
    """The rest of the object there."""
    return _until(text, begin, "")


def _until(text: str, begin: int, end: str) -> str:
    depth = 0
    for at in range(begin, min(len(text), begin + _MAX_VALUE)):
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
        if depth < 0 or (not depth and text[at] == end):
            return text[begin:at]
    return text[begin : begin + _MAX_VALUE]
