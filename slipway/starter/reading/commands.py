"""Finds the commands of programs in Dockerfiles, compose files, Procfiles and scripts, as lists of words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from slipway.starter.reading.files import line_of

# What comes before a command in a file that runs it, up to the program: a key, and what runs it.
_BEGINS = re.compile(
    r"\s*(?:-\s+)?(?:(?!(?:image|\w*name|build|context|profiles?):)[\w.-]+\s*[:=]|CMD\b|ENTRYPOINT\b)?[\[\"'>|\s-]*"
)
_RUNS = re.compile(
    r"(?:(?:(?:/bin/)?(?:ba)?sh[\"',\s]+-\w*c|exec|(?:poetry|pipenv|uv|pdm)[\"',\s]+run|python3?[\"',\s]+-m)[\"',\s]+)*"
)
# Of a text, what a command may span before and after the program.
_BEFORE, _AFTER = 600, 3000
# A value that a compose file or a shell puts in, with a default.
_DEFAULT = re.compile(r"\$\{\w+:?-([^}$]*)\}")
_ENDS = {"&&", "||", ";", "|", "&", ">", ">>", "<", "2>"}


@dataclass(frozen=True)
class Command:
    """`words` begin with the program. `is_run`: nothing but what runs it comes before it."""

    words: tuple[str, ...]
    line: int
    is_run: bool


def commands(text: str, programs: str) -> Iterator[Command]:
    """The commands in a text that begin with one of `programs`, a pattern."""
    for match in re.finditer(rf"(?<![\w./@:-])(?:[\w./-]{{0,200}}/)?({programs})(?=[\s\"',]|$)", text):
        top = text.rfind("\n", 0, max(match.start() - _BEFORE, 0)) + 1
        near, start = text[top : match.end() + _AFTER], match.start() - top
        begin = near.rfind("\n", 0, start) + 1
        before = near[begin:start]
        if len(before) > _BEFORE or before.lstrip().startswith("#") or re.search(r"(^|[\s\"'])--?[\w-]+=$", before):
            continue
        words = _words(near, start, before)
        key = before if before.strip(" \t[\"'-") else _key_above(near, begin) + before
        yield Command((match[1], *words[1:]), line_of(text, match.start()), _is_run(key))


def _is_run(before: str) -> bool:
    """Whether nothing but what runs a command comes before it."""
    first, *more = re.split(r"&&|\|\||;", before)
    last = more[-1] if more else first
    begun = None if more else _BEGINS.match(last)
    rest = last[begun.end() :] if begun else last.lstrip()
    return bool(_RUNS.fullmatch(rest))


def _key_above(text: str, begin: int) -> str:
    """The line above one, such as "command: >", as far as a command begins there."""
    lines = text[:begin].rstrip().rsplit("\n", 1)
    above = lines[-1].strip()
    while above in ("[", "") and len(lines) == 2:
        lines = lines[0].rstrip().rsplit("\n", 1)
        above = lines[-1].strip()
    return f"{above} " if re.match(r"(command|entrypoint):\s*[>|\[]?[+-]?$", above) else "# "


def _words(text: str, start: int, before: str) -> list[str]:
    """The words of the command that begins at `start`, after `before` on its line."""
    if before.endswith(('"', "'")) and re.match(rf"[^{before[-1]}\n]*{before[-1]}\s*,", text[start:]):
        # A list in brackets, which may span lines.
        end = text.find("]", start)
        found = re.findall(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'", text[start - 1 : end if end > 0 else None])
        return [_filled(one or other) for one, other in found]
    rest = text[start:]
    if re.fullmatch(r"\s*-\s+[\"']?", before) and re.match(r"\S+[\"']?[ \t]*\n", rest):
        # A list with a line for each word.
        after = re.search(rf"\n(?!{re.escape(before.partition('-')[0])}-\s)", rest)
        items = re.findall(r"^\s*-\s+(.*?)\s*$", before + rest[: after.start() if after else None], re.MULTILINE)
        return [_filled(one.strip("\"'")) for one in items]
    line = _filled(_line(rest, before, text, start))
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>()")
    lexer.whitespace_split = True
    try:
        words = [*lexer]
    except ValueError:
        # A quote that ends on another line.
        words = [word.strip("\"'") for word in line.split()]
    ends = next((n for n, word in enumerate(words) if word in _ENDS), len(words))
    return words[:ends]


def _line(rest: str, before: str, text: str, start: int) -> str:
    """The command up to its end, on a single line."""
    quotes = [mark for mark in "\"'" if before.count(mark) % 2]
    if quotes:
        return rest.partition(quotes[0])[0].replace("\\\n", " ")
    if before.count("{") > before.count("}"):
        # A service of YAML in braces.
        rest = _filled(rest).partition("}")[0]
    first, *more = rest.replace("\\\n", " ").split("\n")
    lines = [first]
    above = text[: start - len(before)].rstrip().rpartition("\n")[2]
    if re.search(r"(command|entrypoint):\s*[>|]?[+-]?$", above) or re.search(r"(command|entrypoint):\s", before):
        # A text of YAML goes on in the lines that are indented further than its key.
        key = above if re.search(r"(command|entrypoint):\s*[>|]?[+-]?$", above) else before
        indent = len(key) - len(key.lstrip())
        for line in more:
            is_below = len(line) - len(line.lstrip()) > indent
            if not is_below or not line.strip() or re.match(r"\s*(-\s|[\w.-]+:(\s|$))", line):
                break
            lines.append(line.strip())
    return " ".join(lines)


def _filled(text: str) -> str:
    return _DEFAULT.sub(r"\1", text)
