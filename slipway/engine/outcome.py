"""The results of a plan and of an apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slipway.engine.components import OTHER
from slipway.engine.notes import Note

# Called as an operation starts, each second while it runs, and as it ends: host, operation, "running" | "changed" |
# "ok" | "failed", seconds. A running one may be followed by how far its upload is, in brackets.
Progress = Callable[[str, str, str, float], None]


@dataclass
class Change:
    """An operation that changes something on a host, with its notes."""

    host: str
    operation: str
    notes: list[Note] = field(default_factory=list)
    # It follows from another change, such as a restart.
    is_reaction: bool = False
    component: str = OTHER


@dataclass
class Outcome:
    """The changes in order; what was skipped on which host and why; the number of operations of all hosts."""

    changes: list[Change]
    skipped: list[tuple[str, str]]
    operations: int
    seconds: float
    # Hosts that could not be compared or failed, with the error.
    failures: dict[str, str] = field(default_factory=dict)
