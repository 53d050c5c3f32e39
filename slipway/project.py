"""Where files are: Slipway's own, which travel in its package, and those of the user's project.

A project is a folder with inventory.py, deploy.py and group_data, or with two of them, so that a missing one can be
named. It is the nearest one above the folder that the user stands in, as git finds a repository.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# What all hosts have, relative to the project.
SETTINGS = "group_data/all.py"
# Relative to the project.
INVENTORIES = {"production": "inventory.py", "lab": str(PACKAGE / "lab/inventory.py")}


class NoProject(Exception):
    """There is no project here; `str()` is what the user reads."""


def folder() -> Path:
    """The project's folder. Raises NoProject."""
    here = Path.cwd()
    if found := _above(here):
        return found
    below = sorted(child.name for child in here.iterdir() if child.is_dir() and _above(child) == child)
    fix = f"there is one below it: cd {below[0]}" if below else "start one: slipway init; or change to its folder"
    raise NoProject(
        f"found no project in {here} or above it, expected a folder with inventory.py and deploy.py ({fix})"
    )


def _above(here: Path) -> Path | None:
    for place in (here, *here.parents):
        if sum((place / name).exists() for name in ("inventory.py", "deploy.py", "group_data")) >= 2:
            return place
    return None


def path(text: str) -> Path:
    """A file or folder that a setting names, relative to the project; while there is none, to where the user stands."""
    here = Path.cwd()
    return (_above(here) or here) / Path(text).expanduser()


def own_and_shipped(name: str) -> list[str]:
    """The folders of this name, those of the project first: what is there adds to Slipway's, or replaces it."""
    shipped, own = PACKAGE / name, (_above(Path.cwd()) or PACKAGE) / name
    return [str(shipped)] if not own.is_dir() or own.samefile(shipped) else [str(own), str(shipped)]


def own_components() -> set[str]:
    """The names of the modules of the project's tasks that Slipway has none of."""
    names = [{module.name for module in pkgutil.iter_modules([place])} for place in own_and_shipped("tasks")]
    return names[0] - names[-1]


def shown(file: str | None) -> str:
    """A file's name as the user knows it, relative to the project."""
    path, top = Path(file or "?"), _above(Path.cwd())
    for place in (top, PACKAGE.parent) if top else (PACKAGE.parent,):
        if path.is_relative_to(place):
            return str(path.relative_to(place))
    return str(path)
