"""The locked dependencies of a project, from any supported file."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import canonicalize_name

from slipway.dependencies import builds, find, incompatible, lockfile, pdm, pipenv, poetry, pylock, uv_project
from slipway.dependencies.files import LOCKS, PROJECT
from slipway.dependencies.indexes import Index
from slipway.dependencies.lockfile import Inputs
from slipway.dependencies.model import Locked
from slipway.dependencies.requirements import Requirements, read, text_of
from slipway.dependencies.target import applies, may_apply


def locked(
    folder: Path,
    named: str,
    python: str,
    built: Collection[str] = (),
    with_builds: bool = True,
    indexes: Sequence[Index] = (),
) -> Locked:
    """The dependencies of the project in a folder. `named` is the file that lists them, "" to find it; `python` is the
    server's version, "3.11.2"; `built` are the packages that it builds, whose build dependencies are included if
    `with_builds`; `indexes` are asked before PyPI. Raises DependenciesError."""
    choice = find.choose(folder, named)
    names = frozenset(map(canonicalize_name, built))
    others = tuple(indexes)
    found = replace(_load(choice, folder, python, names, others), indexes=others)
    if choice.beside:
        find.agree(found, read(folder / choice.beside, folder, others), choice.beside)
        found = replace(found, notes=(*found.notes, f"{choice.beside} is not used: {choice.name} locks it"))
    packages = tuple(package for package in found.packages if not package.marker or may_apply(package.marker))
    old = incompatible.notes({one.name: one.version for one in packages if applies(one.marker, python)}, python)
    notes = (*found.notes, *(f"{found.source}: {note}" for note in old))
    found = replace(found, packages=packages, built=names & {package.name for package in packages}, notes=notes)
    if not with_builds or not found.built:
        return found
    needed = builds.load(folder, (package for package in packages if package.name in found.built), others)
    return replace(found, build_packages=needed)


def inputs(folder: Path, named: str, built: Collection[str] = (), indexes: Sequence[Index] = ()) -> Inputs | None:
    """The inputs of Slipway's lock; None if the project has its own lock. Raises DependenciesError."""
    choice = find.choose(folder, named)
    kind, names, others = choice.path.name, frozenset(map(canonicalize_name, built)), tuple(indexes)
    if kind == PROJECT:
        return lockfile.of_project(text_of(choice.path), choice.name, names, others)
    if kind in LOCKS or kind.startswith("pylock."):
        return None
    listed = read(choice.path, folder, others)
    return None if listed.is_locked else lockfile.of_list(choice.name, listed, names, others)


def _load(choice: find.Choice, folder: Path, python: str, built: frozenset[str], others: tuple[Index, ...]) -> Locked:
    path, name = choice.path, choice.name
    match path.name:
        case "uv.lock":
            return uv_project.locked(path, folder, name, others, choice.project)
        case "poetry.lock":
            return poetry.locked(path, name, python, others)
        case "pdm.lock":
            return pdm.locked(path, name)
        case "Pipfile.lock":
            return pipenv.locked(path, name, others)
        case "pyproject.toml":
            return lockfile.load(folder, lockfile.of_project(text_of(path), name, built, others))
        case file if re.fullmatch(r"pylock(\..+)?\.toml", file):
            data = pylock.load(text_of(path), name)
            wanted = data.get("requires-python", "")
            return Locked(name, pylock.packages(data, name, others), ((name, wanted),) if wanted else ())
        case _:
            listed = read(path, folder, others)
            if not listed.is_locked:
                found = lockfile.load(folder, lockfile.of_list(name, listed, built, others))
                return replace(found, notes=tuple(listed.notes))
            return _of_hashes(name, listed)


def _of_hashes(name: str, listed: Requirements) -> Locked:
    packages = tuple(dict.fromkeys(entry.package for entry in listed.entries))
    return Locked(name, packages, is_complete=False, notes=tuple(listed.notes))
