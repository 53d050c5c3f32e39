"""The folder of a project's files, without name conflicts with the application's."""

from __future__ import annotations

from pathlib import Path

from slipway.project import SETTINGS
from slipway.starter.reading.files import Repository
from slipway.starter.write import FILES, repository_of

# A project's folders for its own components, templates and server tests (docs/components.md).
OWN_FOLDERS = ("tasks", "templates", "tests/server")
# Names for the project's folder, in order of preference.
NAMES = ("deploy", "slipway", "ops")


def is_project(folder: Path) -> bool:
    """Whether a folder is a Slipway project, rather than one with files of the same names."""
    try:
        return (folder / SETTINGS).is_file() and "slipway" in (folder / "deploy.py").read_text(errors="replace")
    except OSError:
        return False


def conflicts(folder: Path) -> list[str]:
    """The entries of a folder whose names conflict with a project's."""
    if not folder.is_dir() or is_project(folder):
        return []
    files = [name for name in FILES.values() if name.endswith(".py") and (folder / name).exists()]
    return [*files, *(f"{name}/" for name in OWN_FOLDERS if (folder / name).is_dir())]


def is_apart(folder: Path, above: Path) -> bool:
    """Whether a folder is in a git repository with code of its own, and the folder above it is not in that one."""
    top = repository_of(folder)
    if not top or top == repository_of(above):
        return False
    own = {folder / file for file in FILES.values()}
    own_folders = tuple(f"{folder / name}/" for name in OWN_FOLDERS)
    code = (top / file for file in Repository(top).files if file.endswith((".py", "package.json")))
    return any(file not in own and not str(file).startswith(own_folders) for file in code)


def free_name(folder: Path) -> str:
    """An unused name of a subfolder for the project."""
    fitting = (name for name in NAMES if not (folder / name).is_file() and not conflicts(folder / name))
    return next(fitting, "infrastructure")
