"""One run of Slipway: what it was asked to do, and what its operations have said and built so far.

pyinfra calls the operations, so that it is found by pyinfra's state, which is one a run as well. Plain pyinfra gets one
that chooses everything and collects no notes.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipway.engine.notes import Note

# Of pyinfra's state.
ATTRIBUTE = "slipway_run"


@dataclass
class Run:
    # The components that are looked at; all where none is named.
    components: frozenset[str] = frozenset()
    collects_notes: bool = False
    # By the host's name and the hash of the operation; None outside of one.
    notes: dict[tuple[str, str | None], list[Note]] = field(default_factory=dict)
    # The component of each operation, by the host's name and the hash of the operation.
    component_of: dict[tuple[str, str], str] = field(default_factory=dict)
    # The operations whose change requires no restart, by the host's name and the hash of the operation.
    without_restart: set[tuple[str, str | None]] = field(default_factory=set)
    # Builds of frontends by folder and command: hosts are shipped to side by side, from one.
    builds: dict[tuple[Path, str], Future[Path]] = field(default_factory=dict)

    def wants(self, component: str) -> bool:
        return not self.components or component in self.components


def of(state: Any) -> Run:
    """The run that a pyinfra state belongs to."""
    current: Run | None = getattr(state, ATTRIBUTE, None)
    return current or start(state, Run())


def start(state: Any, run: Run) -> Run:
    """Let the operations of a pyinfra state find their run."""
    setattr(state, ATTRIBUTE, run)
    return run
