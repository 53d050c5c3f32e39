"""Base classes for the facts that pyinfra lacks. Each fact is one read-only command.

A fact never fails if its subject is absent (a program not installed yet, a missing file): a plan of a fresh host
collects all of them.
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
    """A fact whose command holds no secret: the command may be cached in a file, for the next run to batch."""

    may_be_remembered = True


class OfSubjects(Fact[T]):
    """A fact about some arguments of its `script`. A batch runs the script once for all such facts, and each picks its
    subjects from the output."""

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
