"""Finds the file that lists a project's dependencies.

Locks first, as they are the most precise: uv.lock, poetry.lock, pdm.lock, Pipfile.lock, pylock.toml. Then lists:
requirements files, and pyproject.toml. Between two locks, or a lock and a list that it does not satisfy, a setting must
choose.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from slipway.dependencies import pylock
from slipway.dependencies.files import EXPECTED, LISTS, LOCKS, PROJECT, SETTING, UNLOCKED
from slipway.dependencies.model import DependenciesError, Locked
from slipway.dependencies.requirements import Requirements, text_of
from slipway.dependencies.target import may_apply


@dataclass(frozen=True)
class Choice:
    """`name` is the file, relative to the folder. `beside` is a list that exists too. `project` is the pyproject.toml
    of a member of a workspace, whose lock is above it."""

    name: str
    path: Path
    beside: str = ""
    project: Path | None = None


def choose(folder: Path, named: str) -> Choice:
    """The file `named`, or else the one found. Raises DependenciesError."""
    if named:
        if not (folder / named).is_file():
            raise DependenciesError([f"{SETTING} = {named!r}: found no such file in {folder}"])
        return _of_workspace(folder, folder / named) or Choice(named, folder / named)
    locks = [name for name in LOCKS if (folder / name).is_file()]
    lists = [name for name in LISTS if (folder / name).is_file()]
    if len(locks) > 1:
        raise DependenciesError(
            [f"found {' and '.join(locks)}, expected one of them: remove the others, or set {SETTING} = {locks[0]!r}"]
        )
    if locks:
        return Choice(locks[0], folder / locks[0], lists[0] if lists else "")
    if lists:
        return Choice(lists[0], folder / lists[0])
    if (folder / PROJECT).is_file():
        return _of_project(folder)
    raise DependenciesError([_nothing_found(folder)])


def _of_project(folder: Path) -> Choice:
    project = pylock.load(text_of(folder / PROJECT), PROJECT)
    if "dependencies" in project.get("project", {}):
        return _of_workspace(folder, folder / PROJECT) or Choice(PROJECT, folder / PROJECT)
    if "dependencies" in project.get("tool", {}).get("poetry", {}):
        raise DependenciesError([f"{PROJECT}: found Poetry's dependencies and no poetry.lock: run `poetry lock`"])
    if "dependencies" in project.get("project", {}).get("dynamic", []):
        raise DependenciesError(
            [f"{PROJECT}: found dynamic dependencies, expected a list: name its file in {SETTING}, or run `uv lock`"]
        )
    raise DependenciesError([_nothing_found(folder)])


def _of_workspace(folder: Path, project: Path) -> Choice | None:
    """The lock of uv's workspace that a project is a member of. https://docs.astral.sh/uv/concepts/projects/workspaces/"""
    name = pylock.load(text_of(project), project.name).get("project", {}).get("name") if project.name == PROJECT else ""
    for place in project.resolve().parents if name else ():
        lock = place / "uv.lock"
        if lock.is_file():
            inner = project.resolve().parent.relative_to(place).as_posix()
            sources = [one.get("source", {}) for one in pylock.load(text_of(lock), lock.name).get("package", [])]
            is_member = any(inner in (one.get("editable"), one.get("virtual"), one.get("directory")) for one in sources)
            # The nearest lock is the one that uv would use.
            return Choice(os.path.relpath(lock, folder), lock, project=project) if is_member else None
    return None


def _nothing_found(folder: Path) -> str:
    others = [name for name in UNLOCKED if (folder / name).is_file()]
    if others and UNLOCKED[others[0]]:
        return f"found {others[0]} without a lock: run `{UNLOCKED[others[0]]}`, and commit the lock"
    found = f"found only {others[0]}" if others else "found no list of dependencies"
    return f"{found} in {folder}, expected one of {EXPECTED}; or name another file in {SETTING}"


def agree(locked: Locked, beside: Requirements, name: str) -> None:
    """Raises DependenciesError if a lock does not satisfy the list `beside` it: one of the two is outdated."""
    versions: dict[str, list[str]] = {}
    for package in locked.packages:
        versions.setdefault(package.name, []).append(package.version)
    differing = []
    for entry in beside.entries:
        if entry.requirement.marker and not may_apply(str(entry.requirement.marker)):
            continue
        there = versions.get(canonicalize_name(entry.name))
        if there is None:
            differing.append(f"{entry.name} is only in {name}")
        elif not any(entry.requirement.specifier.contains(version, prereleases=True) for version in there):
            differing.append(f"{entry.name} is {' or '.join(there)} in {locked.source}, {entry.text} in {name}")
    if differing:
        raise DependenciesError(
            [
                f"{locked.source} and {name} disagree ({'; '.join(differing[:5])}{' ...' if differing[5:] else ''}):"
                f" remove the outdated one, or set {SETTING} = {locked.source!r} or {name!r}"
            ]
        )
