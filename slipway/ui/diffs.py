"""The unified diffs among an operation's notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

LineKind = Literal["added", "removed", "place", "same"]


def diff_lines(diff: str) -> Iterator[tuple[LineKind, str]]:
    """The lines of a unified diff below its header, each with its kind."""
    kinds: dict[str, LineKind] = {"+": "added", "-": "removed", "@": "place"}
    for line in diff.splitlines()[2:]:
        yield kinds.get(line[:1], "same"), line


def diff_file(diff: str) -> str:
    return diff.splitlines()[0].removeprefix("--- ")
