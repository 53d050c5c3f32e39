"""The sources of a release: the folders of backend and frontend, from the working tree or a git commit."""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

from slipway import project
from slipway.releases.shipped import OF_PEOPLE, OF_SLIPWAY
from slipway.settings.model import Settings


@dataclass(frozen=True)
class Sources:
    """`frontend` is None if the site has none. `commit` is the short hash, with "-dirty" if files differ from it; ""
    outside of git. `ref` is the requested one, "" for the working tree; `exported` is the folder with all files of its
    commit."""

    backend: Path
    frontend: Path | None
    commit: str
    ref: str
    exported: Path | None = None

    @property
    def folders(self) -> list[Path]:
        return [self.backend, *([self.frontend] if self.frontend else [])]


def of(settings: Settings) -> Sources:
    """Raises PyinfraError if there is no such commit, or it lacks one of the folders."""
    arguments = settings.arguments
    # A build for the backend may read any file of the repository.
    is_all = bool(settings.backend_build)
    return _of(settings.backend_source, settings.frontend_source, arguments.release_path, arguments.release_ref, is_all)


# Once per run: all hosts get the same.
@cache
def _of(backend_source: str, frontend_source: str, path: str, ref: str, is_all: bool) -> Sources:
    wanted = [backend_source, *([frontend_source] if frontend_source else [])]
    folders = [project.path(source).resolve() for source in wanted]
    if not path and not ref:
        _check_submodules(folders)
        return _placed(folders, _commit_of(folders, is_all), "")
    base = _base(folders)
    if path:
        root = Path(path).resolve()
        places = [root / folder.relative_to(base) for folder in folders]
        found = _checked(_placed(places, "", ""), f"release_path = {path!r}")
        return replace(found, commit=_commit_of(places, is_all))
    top = _git(base, "rev-parse", "--show-toplevel")
    if top is None:
        raise PyinfraError(f"release_ref = {ref!r}: found no git repository at {base}, expected one with this ref")
    commit = _find(Path(top), ref)
    tree = Path(_check_out(Path(top), commit))
    places = [tree / folder.relative_to(top) for folder in folders]
    short = _git(Path(top), "rev-parse", "--short", commit) or commit
    return _checked(replace(_placed(places, short, ref), exported=tree), f"release_ref = {ref!r}")


def _base(folders: list[Path]) -> Path:
    """The folder with backend and frontend; for a backend alone, the project's, if it contains the backend."""
    if len(folders) > 1:
        return Path(os.path.commonpath(folders))
    (backend,) = folders
    top = project.path(".").resolve()
    return top if backend.is_relative_to(top) else backend.parent


def _placed(folders: list[Path], commit: str, ref: str) -> Sources:
    return Sources(folders[0], folders[1] if len(folders) > 1 else None, commit, ref)


def _checked(sources: Sources, what: str) -> Sources:
    for folder in sources.folders:
        if not folder.is_dir():
            names = "those of backend_source and frontend_source" if sources.frontend else "that of backend_source"
            raise PyinfraError(f"{what}: found no folder {folder}, expected {names}")
    return sources


def _check_submodules(folders: list[Path]) -> None:
    """Raises PyinfraError if a submodule is not checked out: the release would have an empty folder."""
    for folder in folders:
        top = _git(folder, "rev-parse", "--show-toplevel")
        if top and (Path(top) / ".gitmodules").is_file():
            for line in (_git(folder, "submodule", "status", "--", ".") or "").splitlines():
                if line.startswith("-"):
                    path = line.split()[1]
                    raise PyinfraError(
                        f"{path}: the submodule is not checked out; run `git submodule update --init {path}`"
                    )


def _find(top: Path, ref: str) -> str:
    """The commit of a ref, local or else fetched from "origin"."""
    if commit := _git(top, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"):
        return commit
    fetched = subprocess.run(
        ["git", "-C", str(top), "fetch", "--quiet", "origin", ref],
        capture_output=True,
        text=True,
        check=False,
        # Never prompt for a password.
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )
    commit = _git(top, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}") if fetched.returncode == 0 else None
    if commit is None:
        # git prints the cause first, general advice last.
        said = [line for line in fetched.stderr.splitlines() if line and not line.lower().startswith("warning:")]
        raise PyinfraError(
            f"release_ref = {ref!r}: found no such branch, tag or commit in {top}, nor at origin"
            f" ({said[0] if said else 'git fetch failed'}); `git branch --all` and `git tag` list them"
        )
    return commit


def _check_out(top: Path, commit: str) -> str:
    """A temporary folder with the files of a commit; the repository and working tree are not changed."""
    folder = temporary_folder()
    _unpack(top, commit, folder)
    for sha, path in _submodules(top, commit):
        if _git(top / path, "rev-parse", "--show-toplevel") != str((top / path).resolve()):
            raise PyinfraError(f"{path}: the submodule is not checked out; run `git submodule update --init {path}`")
        _unpack(top / path, sha, f"{folder}/{path}")
    return folder


def _submodules(top: Path, commit: str) -> list[tuple[str, str]]:
    """The submodules of a commit: the commit of each, and its path."""
    listed = _git(top, "ls-tree", "-r", "-z", "--full-tree", commit) if (top / ".gitmodules").is_file() else ""
    entries = [entry.partition("\t") for entry in (listed or "").split("\0") if entry.startswith("160000 ")]
    return [(kind.split()[2], path) for kind, _, path in entries]


def _unpack(top: Path, commit: str, folder: str) -> None:
    archive = ["git", "-C", str(top), "archive", "--format=tar", commit]
    # Leaving the block closes the pipe, so that git exits if tar has failed.
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as packed:
        unpack = ["tar", "-x", "-C", folder]
        unpacked = subprocess.run(unpack, stdin=packed.stdout, stderr=subprocess.PIPE, text=True, check=False)
    if packed.returncode or unpacked.returncode:
        said = unpacked.stderr.splitlines() or ["git archive failed"]
        raise PyinfraError(f"the files of {commit} in {top} could not be written to {folder}: {said[0]}")


def temporary_folder() -> str:
    """An empty folder, which is removed at exit."""
    folder = tempfile.mkdtemp(prefix="slipway-release-")
    # Not shutil.rmtree: it opens each folder, and gevent delays closing them.
    atexit.register(subprocess.run, ["rm", "-rf", "--one-file-system", folder], check=False)
    return folder


def _commit_of(folders: list[Path], is_all: bool) -> str:
    """`is_all`: of the whole repository, rather than of the folders."""
    commit = _git(folders[0], "rev-parse", "--short", "HEAD")
    if commit is None:
        return ""
    what = ":/" if is_all else "."
    is_dirty = any(_git(folder, "status", "--porcelain", "--", what, *_never_released(folder)) for folder in folders)
    return f"{commit}-dirty" if is_dirty else commit


def _never_released(folder: Path) -> Iterator[str]:
    """Pathspecs that leave out what no release has: the project's own files, those of developers' tools and of code
    hosting. https://git-scm.com/docs/gitglossary#Documentation/gitglossary.txt-pathspec"""
    yield from (f":(exclude,top,glob)**/{name}/**" for name in sorted(OF_PEOPLE))
    top = Path(_git(folder, "rev-parse", "--show-toplevel") or folder)
    for place in (project.path(name).resolve() for name in OF_SLIPWAY):
        if place.is_relative_to(top):
            yield f":(exclude,top,literal){place.relative_to(top)}"


def _git(folder: Path, *arguments: str) -> str | None:
    """git's output; None if it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
