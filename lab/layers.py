"""A host's disk as layers: the changes since the last snapshot, on that snapshot, on the previous one, on a base.

Taking and restoring a snapshot are renames, and take no time. The backend defines a layer (a folder of an overlay, a
qcow2 file).

    hosts/<name>/layer                the host's current changes
    hosts/<name>/snapshots/<label>    read-only layers
    hosts/<name>/top                  the label of the snapshot that a new layer stands on
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.lab.instance import write
from slipway.lab.steps import StepFailed, remove


class Layers:
    """The layers of the host whose folder is `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = folder / "layer"
        self._snapshots = folder / "snapshots"
        self._top = folder / "top"

    def labels(self) -> list[str]:
        """The snapshots, oldest first."""
        # The folder's own mtime: it does not change once its layer is complete.
        found = sorted(self._snapshots.glob("*/below"), key=lambda path: path.stat().st_mtime)
        return [path.parent.name for path in found]

    def below(self) -> list[Path]:
        """The snapshots below the current layer, or below a new one, nearest first."""
        return self.chain(self._below(self.current) if self.current.exists() else self._new_below())

    def chain(self, label: str) -> list[Path]:
        """The snapshot `label` and those below it, nearest first; none for ""."""
        found: list[Path] = []
        while label:
            found.append(self._snapshots / label)
            label = self._below(found[-1])
        return found

    @staticmethod
    def _below(layer: Path) -> str:
        return (layer / "below").read_text()

    def _new_below(self) -> str:
        return self._top.read_text() if self._top.exists() else ""

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A folder to create the new current layer in; it becomes current when the block succeeds."""
        remove(self.folder / "layer.gone")
        new = self.folder / "layer.new"
        remove(new)
        new.mkdir(parents=True)
        yield new
        write(new / "below", self._new_below())
        new.rename(self.current)

    def snapshot(self, label: str) -> None:
        """Turn the current layer into a snapshot. The caller creates a new layer. Raises StepFailed."""
        step = f"Take the snapshot {label}"
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", label):
            raise StepFailed(step, f"found the label {label!r}, expected at most 32 of a-z, 0-9 and -")
        if label in self.labels():
            raise StepFailed(step, f"this label exists already; existing: {', '.join(self.labels())}")
        self._snapshots.mkdir(exist_ok=True)
        # The label first: after an interruption in between, the current layer still knows its parent.
        write(self._top, label)
        self.current.rename(self._snapshots / label)

    def stand_on(self, label: str, others: Layers) -> None:
        """Use another host's snapshot with those below it, and create the first layer on it."""
        self._snapshots.mkdir(parents=True, exist_ok=True)
        for snapshot in others.chain(label):
            link = self._snapshots / snapshot.name
            link.unlink(missing_ok=True)
            link.symlink_to(snapshot)
        write(self._top, label)

    def check(self, label: str, step: str) -> None:
        """Raises StepFailed if there is no such snapshot; `step` is the step that needs it."""
        if label not in self.labels():
            there = ", ".join(self.labels()) or "none"
            raise StepFailed(step, f"there is no such snapshot; there are: {there}")

    def restore(self, label: str) -> None:
        """Discard the changes since the snapshot. The caller creates a new layer."""
        self.check(label, f"Restore the snapshot {label}")
        write(self._top, label)
        if self.current.exists():
            remove(self.folder / "layer.gone")
            self.current.rename(self.folder / "layer.gone")
