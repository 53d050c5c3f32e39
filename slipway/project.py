"""Where the files of the project are: the inventory, the deploy files, the settings, the templates."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
INVENTORIES = {"production": "inventory.py", "lab": "lab/inventory.py"}


def shown(file: str | None) -> str:
    """A file's name as the user knows it, relative to the project."""
    path = Path(file or "?")
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)
