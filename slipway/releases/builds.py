"""Builds on this machine, the frontend's and the backend's: their commands, and the files that they write."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

from pyinfra.api.exceptions import PyinfraError

from slipway.releases import pages, shipped, sources
from slipway.settings.model import Settings
from slipway.turns import turn

# In a release: the built frontend.
BUILD = "frontend/build"
# How a pointer of Git LFS begins, and its size; and how many are named.
POINTER, MAX_POINTER_BYTES, MAX_NAMED = b"version https://git-lfs", 1024, 3
# The variable of backend_build with the folder that it writes to.
OUTPUT = "OUTPUT"
# What Node.js says, and the exit code of a program that the kernel has killed.
HEAP_IS_FULL, KILLED = "heap out of memory", 137
# What npm says of packages that want different versions of a third one.
PEERS_CONFLICT = "code ERESOLVE"

# The builds of a run by setting, folder and command; each results in a temporary folder with its output.
Builds = dict[tuple[str, Path, str], Future[Path]]


def frontend_of(settings: Settings) -> Path:
    """The folder of the frontend of a site that has one."""
    folder = sources.of(settings).frontend
    assert folder is not None
    return folder


def begin(settings: Settings, builds: Builds) -> Future[Path]:
    """Start the build of the frontend, unless `builds`, those of this run, has it. The result is a temporary folder
    with a copy of its output, or PyinfraError."""
    key = ("frontend_build", frontend_of(settings), settings.frontend_build)
    return _once(key, partial(_build_frontend, settings), builds)


def begin_backend(settings: Settings, builds: Builds) -> Future[Path]:
    """The same for `backend_build`."""
    key = ("backend_build", sources.of(settings).backend, settings.backend_build)
    return _once(key, partial(_build_backend, settings), builds)


def _once(key: tuple[str, Path, str], work: Callable[[], Path], builds: Builds) -> Future[Path]:
    if key not in builds:
        builds[key] = Future()
        # A daemon thread, so that a failed or interrupted run does not wait for it.
        threading.Thread(target=_fulfil, args=(builds[key], work), daemon=True).start()
    return builds[key]


def _fulfil(build: Future[Path], work: Callable[[], Path]) -> None:
    try:
        build.set_result(work())
    except Exception as error:
        build.set_exception(error)


def _build_frontend(settings: Settings) -> Path:
    source = frontend_of(settings)
    with _alone_in(source) as held:
        return _copied(_built(settings, source, held), settings.release_max_mb)


def _build_backend(settings: Settings) -> Path:
    source, output = sources.of(settings).backend, Path(sources.temporary_folder())
    with _alone_in(source) as held:
        done = _run(settings.backend_build, source, held, {**os.environ, OUTPUT: str(output)})
    if done.returncode != 0 or not any(output.iterdir()):
        reason = f"exit code {done.returncode}" if done.returncode else f"it wrote nothing to ${OUTPUT}"
        raise PyinfraError(_why("backend_build", reason, done))
    return output


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """Lock a folder against other runs' builds, which would overwrite each other's output. Yields the file descriptor
    that holds the lock."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        with turn(opened):
            yield opened
    finally:
        os.close(opened)


def _built(settings: Settings, source: Path, held: int) -> Path:
    done = _run(settings.frontend_build, source, held)
    output = source / settings.frontend_output
    if done.returncode != 0 or not (output / "index.html").is_file():
        reason = f"exit code {done.returncode}" if done.returncode else f"it created no {output}/index.html"
        raise PyinfraError(_why("frontend_build", reason, done))
    known = settings.nginx_csp, settings.frontend_assets, settings.site_domain, settings.locations
    if problems := pages.problems(str(output), *known):
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise PyinfraError(f"the pages that frontend_build created in {output} would not work:\n{lines}")
    return output


def _copied(output: Path, most_mb: int) -> Path:
    """Copy the output, so that the next build can start while this one is shipped."""
    files = [*pages_of(BUILD, output)]
    check_size(files, most_mb)
    folder = Path(sources.temporary_folder())
    for name, path in files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return folder / BUILD


def _run(command: str, folder: Path, held: int, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    return subprocess.run(  # noqa: S602  the setting is a shell command, as npm scripts are
        command,
        shell=True,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        # An interrupted run leaves its build running: the next run waits for its end.
        pass_fds=[held],
    )


def _why(setting: str, reason: str, done: CompletedProcess[str]) -> str:
    """Why a build failed, with the end of its output."""
    end = "\n".join(f"  | {line}" for line in done.stdout.splitlines()[-20:])
    said = f"{setting} failed ({reason}): {done.args}\n{end}"
    if PEERS_CONFLICT in done.stdout:
        return f"{said}\n{without_peers(setting, done.args)}"
    if not is_out_of_memory(done.returncode, done.stdout):
        return said
    return f"{said}\n{more_memory(setting, done.args)}"


def more_memory(setting: str, command: str) -> str:
    """What allows a build more memory."""
    more = json.dumps(f"export NODE_OPTIONS=--max-old-space-size=6144; {command}")
    elsewhere = ", or build on the other machine (frontend_build_on)" if setting == "frontend_build" else ""
    return f"it ran out of memory: allow more, as in {setting} = {more} (in MiB){elsewhere}"


def without_peers(setting: str, command: str) -> str:
    """What lets npm install packages whose peer dependencies conflict."""
    # https://docs.npmjs.com/cli/v11/using-npm/config#legacy-peer-deps
    other = re.sub(r"\bnpm (ci|install|i)\b(?! --legacy-peer-deps)", r"npm \1 --legacy-peer-deps", command)
    return f"peer dependencies conflict: change the packages' versions, or allow it by {setting} = {json.dumps(other)}"


def is_out_of_memory(code: int, said: str) -> bool:
    """Whether a build ran out of memory: Node.js reports it, or the kernel killed the build."""
    return HEAP_IS_FULL in said or code in (-signal.SIGKILL, KILLED)


def check_size(files: list[tuple[str, Path]], most_mb: int) -> None:
    """Raises PyinfraError, before anything is read or compressed, if the files exceed the size limit."""
    sizes = {name: path.stat().st_size for name, path in files}
    size = sum(sizes.values())
    if size <= most_mb * 2**20:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    raise PyinfraError(
        f"release_max_mb: found a release of {_mb(size)} MiB, expected at most {most_mb}; remove what is not for"
        f" visitors (the largest file is {largest}, {_mb(sizes[largest])} MiB), or raise it"
    )


def check_pointers(files: list[tuple[str, Path]]) -> None:
    """Raises PyinfraError if there are pointers of Git LFS instead of files.
    https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
    found = [name for name, path in files if path.stat().st_size < MAX_POINTER_BYTES and _is_pointer(path)]
    if found:
        more = f" and {len(found) - MAX_NAMED} more" if found[MAX_NAMED:] else ""
        raise PyinfraError(
            f"{', '.join(found[:MAX_NAMED])}{more}: found pointers of Git LFS, expected the files; run `git lfs pull`"
        )


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def _mb(size: int) -> int:
    """Rounded up, so that a size over the limit also looks so."""
    return -(-size // 2**20)


def pages_of(prefix: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each file of a build, in order, without hidden files."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_for_visitors(name))
        for path in (Path(here, name) for name in sorted(names) if _is_for_visitors(name)):
            # Skip dangling links.
            if path.is_file():
                yield f"{prefix}/{path.relative_to(folder).as_posix()}", path


def files_of(prefix: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each file, in order; not of links, and not of a developer's secrets."""
    for here, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(here, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink() and not shipped.is_secret(path.name, is_of_build=True):
                yield f"{prefix}/{path.relative_to(folder).as_posix()}", path


def links_of(prefix: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Name and target of each link. Raises PyinfraError if one leads out of the folder."""
    for here, folders, names in os.walk(folder):
        for path in (Path(here, name) for name in sorted([*folders, *names])):
            if not path.is_symlink():
                continue
            target, name = path.readlink(), path.relative_to(folder).as_posix()
            if target.is_absolute() or not Path(os.path.normpath(path.parent / target)).is_relative_to(folder):
                raise PyinfraError(
                    f"backend_build: found the link {name} to {target}, expected links inside ${OUTPUT}: copy what it"
                    " leads to (cp -L)"
                )
            yield f"{prefix}/{name}", str(target)


def _is_for_visitors(name: str) -> bool:
    return name == shipped.WELL_KNOWN or not name.startswith(".")
