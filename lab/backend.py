"""What a kind of throwaway host must be able to do. nspawn is one; a virtual machine fits beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Backend(Protocol):
    """Hosts by name. Each method may be called again after it was interrupted."""

    name: str

    def create(self, name: str, tree: Path) -> Path:
        """Give the host a disk made of `tree` and return the folder where its root can be edited before it starts."""

    def start(self, name: str) -> None:
        """Boot it."""

    def is_running(self, name: str) -> bool: ...

    def stop(self, name: str) -> None:
        """Cut the power; the disk stays."""

    def destroy(self, name: str) -> None:
        """Stop it and remove its disk."""
