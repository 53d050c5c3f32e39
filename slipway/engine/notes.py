"""The notes of an operation: diffs, reasons, and what was skipped and why.

A run of Slipway collects the notes (slipway/engine/run.py); under plain pyinfra they go to its log.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra import host, logger

from slipway.engine import run


@dataclass(frozen=True)
class Note:
    """A reason for a change, or a remark about it."""

    text: str


@dataclass(frozen=True)
class Diff(Note):
    """A change of a file's text, as a unified diff."""


@dataclass(frozen=True)
class Hint(Note):
    """What whoever has started the run should know of it when it is done."""


def note(text: str) -> None:
    """Record why the current operation changes something."""
    _add(Note(text))


def diff(text: str) -> None:
    """Record how the current operation changes a file, as a unified diff."""
    _add(Diff(text))


def hint(text: str) -> None:
    """Say something about the operation at hand that is also printed when all is done."""
    _add(Hint(text))


def skipped(what: str, why: str) -> None:
    """Record that something is not done on this host: "skipped swap: a container"."""
    note(f"skipped {what}: {why}")


def _add(one: Note) -> None:
    current = run.of(host.state)
    if current.collects_notes:
        current.notes.setdefault((host.name, host.current_op_hash), []).append(one)
    elif host.state.config.DIFF or host.current_op_hash is None:
        for line in one.text.splitlines():
            logger.info(f"{host.print_prefix}{line}")
