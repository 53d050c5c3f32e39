"""What Slipway asks of a server beyond pyinfra's own facts. Each fact is one read-only command.

A fact never fails where its subject is absent (a program not installed yet, a missing file): a plan of a fresh host
asks all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import ClassVar, TypeVar

from pyinfra.api import FactBase

from slipway.engine.remote_shell import with_subjects


def key_values(lines: Iterable[str]) -> dict[str, str]:
    """`key=value` lines as a dictionary."""
    return dict(line.split("=", 1) for line in lines if "=" in line)


T = TypeVar("T")


class Fact(FactBase[T]):
    """A fact whose command holds no secret: what a run asks may be kept in a file, for the next one to ask at once."""

    may_be_remembered = True


class OfSubjects(Fact[T]):
    """A fact about some of the arguments of its `script`, which a batch runs once for all who ask: each picks its own
    from the answer."""

    script: ClassVar[str]

    def _about(self, *subjects: str) -> str:
        self._subjects = subjects
        return with_subjects(self.script, " ".join(map(shlex.quote, subjects)))


class Output(Fact[str]):
    """The output of a read-only `command`, whatever its exit code."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, command: str) -> str:
        return f"{{ {command}; }} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return "\n".join(output)
