"""What a plan found and what an apply did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slipway.engine.components import OTHER
from slipway.engine.notes import Note

# Called as an operation starts and as it ends: host, operation, "running" | "changed" | "ok" | "failed", seconds.
Progress = Callable[[str, str, str, float], None]


@dataclass
class Change:
    """An operation that changes something on a host, and what it says about it (diffs, reasons)."""

    host: str
    operation: str
    notes: list[Note] = field(default_factory=list)
    # It runs because of another change: a restart, a reload.
    is_reaction: bool = False
    component: str = OTHER


@dataclass
class Outcome:
    """What a plan found or an apply did, in order; what was skipped on which host and why; operations of all hosts."""

    changes: list[Change]
    skipped: list[tuple[str, str]]
    operations: int
    seconds: float
    # Hosts that could not be asked, or at which something failed, and what happened.
    failures: dict[str, str] = field(default_factory=dict)
