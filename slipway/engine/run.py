"""The state of one run of Slipway: its options, and what its operations have recorded.

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

# The attribute of pyinfra's state that holds the run.
ATTRIBUTE = "slipway_run"


@dataclass
class Run:
    # The components of --only; empty for all.
    components: frozenset[str] = frozenset()
    collects_notes: bool = False
    # The components that deploy.py names.
    deployed: frozenset[str] = frozenset()
    # By host name and operation hash; None outside of an operation.
    notes: dict[tuple[str, str | None], list[Note]] = field(default_factory=dict)
    # The component of each operation, by host name and operation hash.
    component_of: dict[tuple[str, str], str] = field(default_factory=dict)
    # Operations whose change requires no restart, by host name and operation hash.
    without_restart: set[tuple[str, str | None]] = field(default_factory=set)
    # Builds of frontends by folder and command, shared by all hosts.
    builds: dict[tuple[str, Path, str], Future[Path]] = field(default_factory=dict)

    def wants(self, component: str) -> bool:
        return not self.components or component in self.components


def of(state: Any) -> Run:
    """The run that a pyinfra state belongs to."""
    current: Run | None = getattr(state, ATTRIBUTE, None)
    return current or start(state, Run())


def start(state: Any, run: Run) -> Run:
    """Attach a run to a pyinfra state, where its operations find it."""
    setattr(state, ATTRIBUTE, run)
    return run
