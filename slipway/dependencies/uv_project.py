"""uv.lock, exported by uv."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from slipway.dependencies import pylock, uv
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError, Locked
from slipway.dependencies.requirements import text_of
from slipway.dependencies.target import may_apply

EXPORT = ("export", "--frozen", "--offline", "--no-dev", "--no-emit-workspace", "--no-header", "--no-annotate")

# Large folders without workspace members.
SKIPPED = {"node_modules", "venv", "env", "site-packages", "__pycache__"}


def locked(
    file: Path, folder: Path, name: str, others: Sequence[Index] = (), own_project: Path | None = None
) -> Locked:
    """The dependencies of the project in a folder, or of `own_project`, a member's pyproject.toml, by its lock, or by
    that of its workspace above it. Raises DependenciesError."""
    own = own_project or folder / "pyproject.toml"
    if not own.is_file():
        own = file.with_name("pyproject.toml")
    if not own.is_file():
        raise DependenciesError([f"{name}: found no pyproject.toml next to it, which uv needs: restore it"])
    project = pylock.load(text_of(own), "pyproject.toml")
    lock = pylock.load(text_of(file), name)
    member = canonicalize_name(project.get("project", {}).get("name", ""))
    if problems := [*_stale(project, lock, member, name), *_for_others(lock, name)]:
        raise DependenciesError(problems)
    with tempfile.TemporaryDirectory(prefix="slipway-") as copy:
        _copy_projects(file.parent, Path(copy))
        words = [*EXPORT, "--format", "pylock.toml", *(["--package", member] if member else [])]
        try:
            exported = uv.run(words, Path(copy))
        except uv.UvFailed as error:
            raise DependenciesError([f"{name}: uv could not export it: {error}"]) from error
    wanted = [(name, lock.get("requires-python", "")), ("pyproject.toml", _requires_python(project))]
    python = tuple((who, specifier) for who, specifier in wanted if specifier)
    return Locked(name, pylock.packages(pylock.load(exported, name), name, others), python)


def _copy_projects(top: Path, copy: Path) -> None:
    """Copy the files that describe a project or workspace, so that uv writes nothing to it and reads no settings."""
    shutil.copyfile(top / "uv.lock", copy / "uv.lock")
    for here, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        if "pyproject.toml" in names:
            place = copy / Path(here).relative_to(top)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(here, "pyproject.toml"), place / "pyproject.toml")


def _requires_python(project: Mapping[str, Any]) -> str:
    return str(project.get("project", {}).get("requires-python", ""))


def _stale(project: Mapping[str, Any], lock: Mapping[str, Any], member: str, name: str) -> Iterable[str]:
    """Changes of pyproject.toml since the lock was made. uv's own check needs a matching Python."""
    metadata = next(
        (
            package["metadata"]
            for package in lock.get("package", [])
            if canonicalize_name(package.get("name", "")) == member and "metadata" in package
        ),
        None,
    )
    if metadata is None or "dependencies" not in project.get("project", {}):
        return
    then = {
        (canonicalize_name(one["name"]), frozenset(one.get("extras", [])), SpecifierSet(one.get("specifier", "")))
        for one in metadata.get("requires-dist", [])
        if "extra ==" not in one.get("marker", "")
    }
    try:
        now = {
            (canonicalize_name(one.name), frozenset(one.extras), one.specifier)
            for one in map(Requirement, project["project"]["dependencies"])
        }
    except InvalidRequirement as error:
        yield f"pyproject.toml: found an invalid dependency: {error}"
        return
    if changed := sorted({one[0] for one in then ^ now}):
        yield f"{name} is older than pyproject.toml ({', '.join(changed)} changed): run `uv lock`, and commit it"


def _for_others(lock: Mapping[str, Any], name: str) -> Iterable[str]:
    """A problem if the lock excludes Linux by [tool.uv] environments."""
    markers = lock.get("supported-markers", [])
    if markers and not any(map(may_apply, markers)):
        yield (
            f"{name} is for other systems ({'; '.join(markers)}): add Linux to `environments` in pyproject.toml, and"
            " run `uv lock`"
        )
