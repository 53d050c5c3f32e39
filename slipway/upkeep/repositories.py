"""apt's files of MongoDB on a host, after an upgrade to a new series.

Sent to the host together with on_host.py. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import os
from pathlib import Path


def series_of(version: str) -> str:
    return ".".join(version.split(".")[:2])


def settle(files: list[str], old: str, new: str) -> None:
    """Remove the repository of the series before, and stay in the new one, as an apply would (tasks.mongodb). `files`
    are those of the sources, of the pins, and of the key of the series before."""
    sources, preferences, key = map(Path, files)
    if sources.exists() and preferences.exists():
        replace(sources, sources.read_text().partition("\n\n")[0].rstrip("\n") + "\n")
        replace(preferences, preferences.read_text().replace(f"Pin: version {old}.*", f"Pin: version {new}.*"))
    key.unlink(missing_ok=True)


def replace(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    other = path.with_name(f".{path.name}.new")
    with other.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    other.chmod(0o644)
    other.replace(path)
