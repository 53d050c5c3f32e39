"""Finds the variables of a build that a frontend's scripts read, and how they use them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from slipway.starter.reading.files import Place, line_of

_ENV = r"(?:import\.meta\.env|process\.env)"
_READ = re.compile(
    r"(?:import\.meta\.env|process\.env|runtimeConfig\.public|\$env/static/public)(?:\.|\[['\"])([A-Za-z_]\w*)"
)
# SvelteKit's. https://svelte.dev/docs/kit/$env-dynamic-private
_IMPORTED = re.compile(r"import\s*\{([^}]*)\}\s*from\s*['\"]\$env/static/(?:public|private)['\"]")
_DYNAMIC = re.compile(r"import\s*\{\s*env(?:\s+as\s+(\w+))?\s*\}\s*from\s*['\"]\$env/dynamic/(?:public|private)['\"]")
# All variables as one object, under another name, in parts, or by a name that is computed.
_RENAMED = re.compile(rf"\b(?:const|let|var)\s+(\w+)(?:\s*:\s*[\w.]+)?\s*=\s*{_ENV}(?![\w.?\[])")
_DESTRUCTURED = re.compile(rf"\{{([^{{}}]*)\}}\s*=\s*{_ENV}(?![\w.?\[])")
_PART = re.compile(r"(?:^|,)\s*([A-Z_]\w*)\s*(?::\s*(\w+)\s*)?(=\s*(?:['\"`]([^'\"`]*)['\"`])?)?")
_COMPUTED = re.compile(rf"{_ENV}(?:\?\.)?\[\s*[^'\"\s]")
_FALLBACK = re.compile(r"['\"]?\]?\s*(?:\|\||\?\?|\?[^:\n]{0,80}:)\s*\(?\s*['\"`]([^'\"`\n]*)['\"`]")
# What comes after a variable that may be missing: another value, or a comparison.
_OPTIONAL = re.compile(r"['\"]?\]?\s*(?:\|\||\?\?|\?(?!\.)|[=!]==?|&&)")
_ASKED = re.compile(r"(?:if\s*\(\s*|!\s*|typeof\s+|console\.\w+\([^\n)]*)$")
# What comes before a host, and before an address that a text begins with.
_AFTER_SCHEME = re.compile(r"(?:https?|wss?|['\"`}]):?//['\"`]?\s*(?:\+\s*|\$\{)\(?\s*(?:window\.)?$")
_BEGINS = re.compile(r"`\$\{\(?\s*(?:window\.)?$")
# An option that is a complete address, as axios and RTK Query have it.
_BASE = re.compile(r"\b(?:base_?ur[li]|uri)['\"]?\s*[:=]\s*\(?\s*$", re.IGNORECASE)
_CONDITION = re.compile(r"['\"]?\]?\s*\?(?![.?])")
_WITH_PATH = re.compile(r"['\"]?\]?\s*\+\s*['\"`]/")
# What the address of the page itself replaces.
_OR_LOCATION = re.compile(r"['\"]?\]?\s*(?:\|\||\?\?)\s*\(?\s*(?:(?:window|self|globalThis|document)\.)?location\b")
_CONSTANT = re.compile(r"(\bexport\s+)?\b(?:const|let|var)\s+(\w+)(?:\s*:\s*[\w| ]+)?\s*=\s*\(?\s*$")


def has_computed(text: str) -> bool:
    """Whether a text reads variables by computed names."""
    return bool(_COMPUTED.search(text))


def variables(file: str, text: str, prefix: str = "") -> Iterator[tuple[str, Place, str]]:
    """The variables that a text reads, with their values if they are missing, "" for none. `prefix`: also those with
    it whose names are texts."""
    for name, begin, end in _reads(text, prefix):
        fallback = _FALLBACK.match(text, end)
        yield name, Place(file, line_of(text, begin)), fallback[1] if fallback else ""
    for match in _IMPORTED.finditer(text):
        for name in re.findall(r"\w+", match[1]):
            yield name, Place(file, line_of(text, match.start())), ""
    for name, _, default, begin in _parts(text):
        yield name, Place(file, line_of(text, begin)), default or ""


def optional(text: str, prefix: str = "") -> set[str]:
    """The variables that a text reads as if they may be missing."""
    found = {name for name, _, default, _ in _parts(text) if default is not None}
    own = {name: own for name, own, _, _ in _parts(text)}
    of_parts = ((name, *use.span()) for name, its in own.items() for use in re.finditer(rf"\b{its}\b", text))
    for name, begin, end in chain(_reads(text, prefix), of_parts):
        if _OPTIONAL.match(text, end) or _ASKED.search(text, max(0, begin - 80), begin):
            found.add(name)
    return found


def _reads(text: str, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """The name of each variable that is read, and where the expression begins and ends."""
    names = [one[1] or "env" for one in _DYNAMIC.finditer(text)] + [one[1] for one in _RENAMED.finditer(text)]
    patterns = [_READ, *(re.compile(rf"\b{one}\.([A-Z_][A-Z0-9_]*)\b") for one in dict.fromkeys(names))]
    for match in chain.from_iterable(one.finditer(text) for one in patterns):
        yield match[1], match.start(), match.end()
    for match in re.finditer(rf"['\"`]({prefix}[A-Z0-9_]+)['\"`]\s*\)?", text) if prefix else ():
        yield match[1], match.start(), match.end()


def _parts(text: str) -> Iterator[tuple[str, str, str | None, int]]:
    """The variables of `const { A, B: own = "x" } = import.meta.env`: name, own name, default, and where it begins."""
    for match in _DESTRUCTURED.finditer(text):
        for part in _PART.finditer(match[1]):
            yield part[1], part[2] or part[1], (part[4] or "") if part[3] else None, match.start(1) + part.start(1)


class Uses:
    """How the code uses variables."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.after_scheme: set[str] = set()
        self.beginning: set[str] = set()
        self.or_location: set[str] = set()
        for text in texts:
            for name, begin, end in _reads(text):
                self._use(name, text, begin, end)
                if _OR_LOCATION.match(text, end):
                    self.or_location.add(name)
                if own := _CONSTANT.search(text, max(0, begin - 120), begin):
                    self._follow(name, own[2], [text], end)
                    if own[1]:
                        imports = re.compile(rf"\bimport\b[^;'\"]*\b{own[2]}\b[^;'\"]*['\"]")
                        self._follow(name, own[2], [one for one in texts if imports.search(one)])
            for name, its, _, begin in _parts(text):
                self._follow(name, its, [text], begin + len(name))

    def _follow(self, name: str, own: str, texts: list[str], begin: int = 0) -> None:
        """The uses of a constant that has a variable's value."""
        for text in texts:
            for use in re.compile(rf"(?<![\w.]){own}\b").finditer(text, begin):
                self._use(name, text, *use.span())

    def _use(self, name: str, text: str, begin: int, end: int) -> None:
        before = text[max(0, begin - 60) : begin]
        is_first = _WITH_PATH.match(text, end) and not re.search(r"\+\s*$", before)
        is_base = _BASE.search(before) and not _CONDITION.match(text, end)
        if _AFTER_SCHEME.search(before):
            self.after_scheme.add(name)
        elif _BEGINS.search(before) or is_first or is_base:
            self.beginning.add(name)

    def is_host(self, name: str, known: str) -> bool:
        """Whether a variable, of which the values `known` are known, has a host alone: by what comes before it, or by
        its name."""
        if "://" in known:
            return False
        is_named = re.search(r"HOST(NAME)?$", name) and name not in self.beginning
        return name in self.after_scheme or bool(is_named)
