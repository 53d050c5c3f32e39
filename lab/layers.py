"""A host's disk as layers: what changed since the last snapshot, on that snapshot, on the one before, on a base.

A snapshot is a rename and costs nothing; so does a restore. What a layer is made of (an overlay's folder, a qcow2 file)
is the backend's.

    hosts/<name>/layer                the changes that the host writes now
    hosts/<name>/snapshots/<label>    layers that are written no more
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
        """The snapshots, the oldest first."""
        # The folder's own time: nothing is added to it or removed from it once its layer is complete.
        found = sorted(self._snapshots.glob("*/below"), key=lambda path: path.stat().st_mtime)
        return [path.parent.name for path in found]

    def below(self) -> list[Path]:
        """The snapshots that the current layer stands on, or a new one will, the nearest first."""
        return self.chain(self._below(self.current) if self.current.exists() else self._new_below())

    def chain(self, label: str) -> list[Path]:
        """The snapshot `label` and those that it stands on, the nearest first; none where the label is ""."""
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
        """A folder to make the new current layer in; it is the current one only when the block ends well."""
        remove(self.folder / "layer.gone")
        new = self.folder / "layer.new"
        remove(new)
        new.mkdir(parents=True)
        yield new
        write(new / "below", self._new_below())
        new.rename(self.current)

    def snapshot(self, label: str) -> None:
        """Keep the disk as it is now. The caller makes a new layer. Raises StepFailed."""
        step = f"Take the snapshot {label}"
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", label):
            raise StepFailed(step, f"found the label {label!r}, expected at most 32 of a-z, 0-9 and -")
        if label in self.labels():
            raise StepFailed(step, f"there is one with this label already; there are: {', '.join(self.labels())}")
        self._snapshots.mkdir(exist_ok=True)
        # The label first: cut off between the two, the current layer is there still, and knows what it stands on.
        write(self._top, label)
        self.current.rename(self._snapshots / label)

    def stand_on(self, label: str, others: Layers) -> None:
        """Have a snapshot of another host's, with those below it, and make the first layer on it."""
        self._snapshots.mkdir(parents=True, exist_ok=True)
        for snapshot in others.chain(label):
            link = self._snapshots / snapshot.name
            link.unlink(missing_ok=True)
            link.symlink_to(snapshot)
        write(self._top, label)

    def check(self, label: str, step: str) -> None:
        """Raises StepFailed where there is no such snapshot; `step` is what wants it."""
        if label not in self.labels():
            there = ", ".join(self.labels()) or "none"
            raise StepFailed(step, f"there is no such snapshot; there are: {there}")

    def restore(self, label: str) -> None:
        """Throw away what changed since the snapshot. The caller makes a new layer."""
        self.check(label, f"Restore the snapshot {label}")
        write(self._top, label)
        if self.current.exists():
            remove(self.folder / "layer.gone")
            self.current.rename(self.folder / "layer.gone")
