"""Which files of a source folder a release ships: tracked files, and untracked ones that are not ignored.

Outside of git, all except what no server needs. A file .slipwayignore in the folder excludes more, in the syntax of
.gitignore.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from slipway.project import INVENTORIES, SETTINGS

MAX_TOLD = 20
IGNORE_FILE = ".slipwayignore"
# Generated or installed files.
GENERATED = {
    *("__pycache__", "node_modules", "site-packages", ".tox", ".nox", ".pytest_cache", ".mypy_cache", ".ruff_cache"),
    *(".next", ".nuxt", ".svelte-kit", ".angular", ".cache", ".parcel-cache", ".turbo", ".DS_Store"),
}
# Markers of Python and conda environments, whatever their names.
ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
# A developer's secrets, tracked or not.
SECRETS = (
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    "id_rsa",
    "id_ed25519",
)
# Part of a frontend's build: their values end up in the pages.
OF_BUILDS = (".env.production", ".env.example")
# Placeholders for empty folders.
KEEPS = {".gitkeep", ".keep"}
# RFC 8615: hidden by name, but public.
WELL_KNOWN = ".well-known"
# Folders of developers' tools and code hosting.
OF_PEOPLE = {".git", ".github", ".gitlab", ".vscode", ".idea", ".devcontainer", ".venv"}
# A Slipway project's own files, which describe the server.
OF_SLIPWAY = (
    "inventory.py",
    "group_data",
    "deploy.py",
    "release.py",
    "rollback.py",
    "secrets",
    "requirements-slipway.txt",
)


@dataclass(frozen=True)
class Shipped:
    """`files` are local paths by the path in the folder, in order; `left_out` are the paths that are not shipped, a
    folder as a whole only by its own path."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def told(self, part: str) -> str:
        """A note about what is not shipped, "" if there is nothing."""
        count, some = len(self.left_out), ", ".join(self.left_out[:MAX_TOLD])
        more = ", ..." if self.left_out[MAX_TOLD:] else ""
        return f"{part}: not shipped ({count}): {some}{more}" if count else ""


def of(folder: Path, is_frontend: bool, exported: Path | None = None) -> Shipped:
    """What a release ships of a source folder. `exported`: the root of an exported commit, whose files are all
    tracked."""
    return _Walk(folder, is_frontend, exported).walk()


class _Walk:
    def __init__(self, folder: Path, is_frontend: bool, exported: Path | None) -> None:
        self.folder, self.takes_hidden, self.is_frontend = folder, is_frontend or bool(exported), is_frontend
        top = "" if exported else _git(folder, "rev-parse", "--show-toplevel").strip()
        self.top = (Path(top) if top else exported or folder).resolve()
        # "--directory": for a fully ignored folder only its name.
        listed = _git(folder, "ls-files", "-z", "-o", "-i", "--exclude-standard", "--directory") if top else ""
        self.ignored = {name.rstrip("/") for name in (listed + _named_in(folder)).split("\0") if name}
        self.has_git = bool(top)
        self.tracked = {*_git(folder, "ls-files", "-z").split("\0")} if top else set[str]()
        self.own = {folder / name for name in OF_SLIPWAY} if _is_project(folder) else set[Path]()
        self.result = Shipped()

    def walk(self) -> Shipped:
        for name, path in self._below(self.folder, "", frozenset({self.folder.resolve()})):
            self.result.files[name] = path
        return self.result

    @cached_property
    def ignored_places(self) -> set[Path]:
        """What git ignores in the whole repository, to which links may lead."""
        options = ("ls-files", "-z", "-o", "-i", "--exclude-standard", "--directory")
        listed = _git(self.top, *options) if self.has_git else ""
        return {self.top / name for name in listed.split("\0") if name}

    def _below(
        self, here: Path, prefix: str, above: frozenset[Path], is_linked: bool = False
    ) -> Iterator[tuple[str, Path]]:
        """`above` are the parent folders, to stop at links to them. `is_linked`: a link leads here."""
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            # Not readable.
            self.result.left_out.append(prefix)
            return
        for entry in sorted(entries, key=lambda entry: entry.is_dir()):
            name, path = f"{prefix}{entry.name}", here / entry.name
            is_behind_link = is_linked or entry.is_symlink()
            place = path.resolve() if is_behind_link else path
            if is_behind_link and not self._may_lead_to(place):
                self.result.left_out.append(name)
            elif place.is_dir():
                is_another = _is_environment(place) or _is_project(place) or place.resolve() in above
                if self._is_taken(name, path) and not is_another:
                    yield from self._below(path, f"{name}/", above | {place.resolve()}, is_behind_link)
                else:
                    self.result.left_out.append(name)
            # Skip dangling links.
            elif place.is_file():
                if self._is_taken(name, path) and not self._is_secret(place.name):
                    yield name, path
                else:
                    self.result.left_out.append(name)

    def _may_lead_to(self, place: Path) -> bool:
        """Whether a link may lead there: into the repository, and to nothing that git ignores."""
        return place.is_relative_to(self.top) and self.ignored_places.isdisjoint([place, *place.parents])

    def _is_taken(self, name: str, path: Path) -> bool:
        last = path.name
        if name in self.ignored or last in GENERATED or last in OF_PEOPLE or path in self.own:
            return False
        if last.endswith((".pyc", ".pyo")) or last == IGNORE_FILE or self._is_secret(last):
            return False
        is_hidden = last.startswith(".") and last not in KEEPS and last != WELL_KNOWN
        return not is_hidden or self.takes_hidden or self._has_git(name, path)

    def _has_git(self, name: str, path: Path) -> bool:
        if not path.is_dir():
            return name in self.tracked
        return any(one.startswith(f"{name}/") for one in self.tracked)

    def _is_secret(self, name: str) -> bool:
        return is_secret(name, self.is_frontend)


def is_secret(name: str, is_of_build: bool) -> bool:
    """Whether a file has a developer's secrets, by its name."""
    is_public = is_of_build and name in OF_BUILDS
    return not is_public and any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRETS)


def _is_environment(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in ENVIRONMENT_MARKS)


def _is_project(folder: Path) -> bool:
    """Whether a folder is a Slipway project."""
    return all((folder / name).exists() for name in (INVENTORIES["production"], "deploy.py", SETTINGS))


def _named_in(folder: Path) -> str:
    """What .slipwayignore excludes, as interpreted by git with an empty repository."""
    file = folder / IGNORE_FILE
    if not file.is_file():
        return ""
    with tempfile.TemporaryDirectory(prefix="slipway-ignore-") as empty:
        _git(Path(empty), "init", "--quiet", "--bare", ".")
        options = (f"--git-dir={empty}", f"--work-tree={folder}")
        return _git(folder, *options, "ls-files", "-z", "-o", "-i", "--directory", f"--exclude-from={file}")


def _git(folder: Path, *arguments: str) -> str:
    """git's output; "" if it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except OSError:
        return ""
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""
