"""Where a project's files go: into a folder in which nothing of the application's would be taken for Slipway's."""

from __future__ import annotations

from pathlib import Path

from slipway.project import SETTINGS
from slipway.starter.write import FILES

# A project's folders of its own components, templates and tests of servers (docs/components.md).
OWN_FOLDERS = ("tasks", "templates", "tests/server")
# Names of a folder for the project, the first that is free.
NAMES = ("deploy", "slipway", "ops")


def is_project(folder: Path) -> bool:
    """Whether a folder is a project of Slipway's already, and not one with files of the same names."""
    try:
        return (folder / SETTINGS).is_file() and "slipway" in (folder / "deploy.py").read_text(errors="replace")
    except OSError:
        return False


def conflicts(folder: Path) -> list[str]:
    """What is in a folder and would be taken for a part of the project."""
    if not folder.is_dir() or is_project(folder):
        return []
    files = [name for name in FILES.values() if name.endswith(".py") and (folder / name).exists()]
    return [*files, *(f"{name}/" for name in OWN_FOLDERS if (folder / name).is_dir())]


def free_name(folder: Path) -> str:
    """A folder below this one for the project."""
    fitting = (name for name in NAMES if not (folder / name).is_file() and not conflicts(folder / name))
    return next(fitting, "infrastructure")
