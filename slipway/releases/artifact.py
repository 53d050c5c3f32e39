"""A release as an archive: the frontend, built locally, and the backend's source in one tar file, without the files
that the server has already."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from itertools import chain
from pathlib import Path
from subprocess import CompletedProcess

import brotli
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import lock
from slipway.releases import pages, shipped, sources
from slipway.settings.model import Settings

# Suffixes of files worth compressing; pictures and fonts are compressed already.
COMPRESSED = {".html", ".css", ".js", ".mjs", ".json", ".svg", ".txt", ".xml", ".webmanifest", ".map", ".ico"}
# Smaller files gain hardly anything.
MIN_COMPRESSED_BYTES = 1024

# The maximum levels, as each file is compressed only once.
BROTLI_QUALITY, GZIP_LEVEL = 11, 9
# Metadata of the release, for `slipway releases`.
RECORD = ".release.json"
# In a release: the built frontend, and its source, if it is built on the server.
BUILD, SOURCE = "frontend/build", "frontend/source"
# The variable of backend_build with the folder that it writes to.
OUTPUT = "OUTPUT"
# A shell command that prints the ids of the releases in its folder, without interrupted uploads and other entries such
# as "lost+found".
IDS = (
    "for id in *; do case $id in *.new | *[!A-Za-z0-9._-]*) ;;"
    " *) [ ! -e $id/backend ] && [ ! -e $id/frontend ] || echo $id ;; esac; done"
)
MORE_MEMORY = "NODE_OPTIONS=--max-old-space-size=4096 npm run build"
# In an archive: the names of the files to take from the current release.
KEPT = ".kept"


@dataclass(frozen=True)
class Release:
    """`id` sorts by time. `archive` is a tar.gz of `backend/`, `frontend/build/` and RECORD, without `kept`, the files
    that the host's current release has too."""

    id: str
    archive: Path
    kept: tuple[str, ...] = ()


# `cache` alone would let concurrent hosts create different ids.
_naming = threading.Lock()


def release_id(settings: Settings) -> str:
    """One id per run, the same on every host: UTC time, and the commit, if there is one."""
    commit = sources.of(settings).commit
    with _naming:
        return f"{_time()}-{commit}" if commit else _time()


@cache
def _time() -> str:
    return datetime.now(UTC).strftime("%Y%m%d%H%M%S")


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


def build(
    settings: Settings,
    parts: Collection[str],
    builds: Builds,
    there: Mapping[str, str] | None = None,
    more: Mapping[str, bytes] | None = None,
    shared: Collection[str] = (),
) -> Release:
    """Build the parts ("backend", "frontend") and `more` files by name, without those that are `there`: SHA-256 as
    hexadecimal digits by name. `builds` are those of this run, `shared` are paths of the backend that the host keeps.
    Raises PyinfraError if a build fails."""
    left_out = tuple(f"backend/{path}/" for path in shared)
    shipped_files = dict(_to_ship(settings, parts, builds))
    links = {}
    if "backend" in parts and settings.backend_build:
        output = begin_backend(settings, builds).result()
        shipped_files |= dict(_files_of("backend", output))
        links = dict(_links_of("backend", output))
    files = [one for one in shipped_files.items() if not f"{one[0]}/".startswith(left_out)]
    _check_size(files, settings.release_max_mb)
    # Programs are always shipped: the existing file may not be executable.
    programs = {name for name, path in files if name.startswith("backend/") and os.access(path, os.X_OK)}
    kept = []
    place = Path(sources.temporary_folder(), "release.tar.gz")
    with tarfile.open(place, mode="w:gz", compresslevel=6) as archive:
        for name, content in chain(_compressed(files), (more or {}).items()):
            if there and name not in programs and there.get(name) == _digest(content):
                kept.append(name)
            else:
                _add(archive, name, content, is_program=name in programs)
        _add(archive, RECORD, record(settings).encode())
        if kept:
            # Null-separated for `xargs -0`: a name may contain anything else.
            _add(archive, KEPT, os.fsencode("\0".join(kept)))
        # Last: nothing is unpacked through a link.
        for name, target in links.items():
            _add_link(archive, name, target)
    return Release(release_id(settings), place, tuple(kept))


def left_out(settings: Settings, parts: Collection[str]) -> list[str]:
    """Notes about files that are not shipped."""
    found = [("backend", sources.of(settings).backend, False)] if "backend" in parts else []
    if "frontend" in parts and settings.frontend_build_on == "server":
        found.append(("frontend", frontend_of(settings), True))
    is_of_git = bool(sources.of(settings).ref)
    taken = [(part, shipped.of(folder, is_frontend, is_of_git)) for part, folder, is_frontend in found]
    return [text for part, one in taken if (text := one.told(part))]


def _to_ship(settings: Settings, parts: Collection[str], builds: Builds) -> Iterator[tuple[str, Path]]:
    """The files of parts: the name in the release, and the local path."""
    found = sources.of(settings)
    if "backend" in parts:
        yield from _taken("backend", shipped.of(found.backend, False, bool(found.ref)))
    if "frontend" in parts and settings.frontend_build_on == "server":
        output = f"{SOURCE}/{settings.frontend_output}/"
        source = _taken(SOURCE, shipped.of(frontend_of(settings), True, bool(found.ref)))
        yield from ((name, path) for name, path in source if not name.startswith(output))
    elif "frontend" in parts:
        yield from _files(BUILD, begin(settings, builds).result())


def _check_size(files: list[tuple[str, Path]], most_mb: int) -> None:
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


def _mb(size: int) -> int:
    """Rounded up, so that a size over the limit also looks so."""
    return -(-size // 2**20)


def record(settings: Settings) -> str:
    """The release's metadata: author, time and source, as JSON."""
    found = sources.of(settings)
    described = {"id": release_id(settings), "when": lock.now(), "who": lock.who()}
    source = {"commit": found.commit, "ref": found.ref, "path": settings.arguments.release_path}
    return json.dumps({**described, **source}) + "\n"


def _compressed(files: list[tuple[str, Path]]) -> Iterator[tuple[str, Path | bytes]]:
    """Name and content of files, followed by compressed copies of those worth it."""
    gaining = {name for name, path in files if _gains(name, path)}
    for name, path in files:
        stem, dot, suffix = name.rpartition(".")
        # Skip files that the build has compressed itself.
        if f"{dot}{suffix}" in (".gz", ".br") and stem in gaining:
            continue
        yield name, path
        if name in gaining:
            data = path.read_bytes()
            yield f"{name}.gz", gzip.compress(data, GZIP_LEVEL, mtime=0)
            yield f"{name}.br", brotli.compress(data, quality=BROTLI_QUALITY)


def _gains(name: str, path: Path) -> bool:
    is_for_visitors = name.startswith(f"{BUILD}/")
    return is_for_visitors and path.suffix in COMPRESSED and path.stat().st_size >= MIN_COMPRESSED_BYTES


def _build_frontend(settings: Settings) -> Path:
    source = frontend_of(settings)
    with _alone_in(source) as held:
        return _copied(_built(settings, source, held), settings.release_max_mb)


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """Lock a folder against other runs' builds, which would overwrite each other's output. Yields the file descriptor
    that holds the lock."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        while not _lock(opened):
            time.sleep(0.1)
        yield opened
    finally:
        # Unlock explicitly, as gevent delays the close.
        fcntl.flock(opened, fcntl.LOCK_UN)
        os.close(opened)


def _lock(opened: int) -> bool:
    # Non-blocking, so that other greenlets of this thread run.
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _copied(output: Path, most_mb: int) -> Path:
    """Copy the output, so that the next build can start while this one is shipped."""
    files = [*_files(BUILD, output)]
    _check_size(files, most_mb)
    folder = Path(sources.temporary_folder())
    for name, path in files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return folder / BUILD


def _build_backend(settings: Settings) -> Path:
    source, output = sources.of(settings).backend, Path(sources.temporary_folder())
    with _alone_in(source) as held:
        done = _run(settings.backend_build, source, held, {**os.environ, OUTPUT: str(output)})
    if done.returncode != 0 or not any(output.iterdir()):
        reason = f"exit code {done.returncode}" if done.returncode else f"it wrote nothing to ${OUTPUT}"
        raise PyinfraError(_why("backend_build", reason, done))
    return output


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
    if not is_out_of_memory(done.returncode, done.stdout):
        return said
    elsewhere = ", or build on the other machine (frontend_build_on)" if setting == "frontend_build" else ""
    return f'{said}\nit ran out of memory: allow more, as in {setting} = "{MORE_MEMORY}" (in MiB){elsewhere}'


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


def _taken(prefix: str, source: shipped.Shipped) -> Iterator[tuple[str, Path]]:
    return ((f"{prefix}/{name}", path) for name, path in source.files.items())


def is_out_of_memory(code: int, said: str) -> bool:
    """Whether a build ran out of memory: Node.js reports it, or the kernel killed the build."""
    return "heap out of memory" in said or code in (-9, 137)


def _files(prefix: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each file of a build, in order, without hidden files."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_for_visitors(name))
        for path in (Path(here, name) for name in sorted(names) if _is_for_visitors(name)):
            # Skip dangling links.
            if path.is_file():
                yield f"{prefix}/{path.relative_to(folder).as_posix()}", path


def _files_of(prefix: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each file, in order; not of links, and not of a developer's secrets."""
    for here, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(here, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink() and not shipped.is_secret(path.name, is_of_build=True):
                yield f"{prefix}/{path.relative_to(folder).as_posix()}", path


def _links_of(prefix: str, folder: Path) -> Iterator[tuple[str, str]]:
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


def _opened(content: Path | bytes) -> io.BufferedReader | io.BytesIO:
    return content.open("rb") if isinstance(content, Path) else io.BytesIO(content)


def _digest(content: Path | bytes) -> str:
    with _opened(content) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes, is_program: bool = False) -> None:
    """Add a file. A large one is never in memory."""
    with _opened(content) as file:
        member = tarfile.TarInfo(name)
        member.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        # Nginx derives the ETag from mtime and size: two releases must not share it.
        member.mtime = int(datetime.now(UTC).timestamp())
        member.mode = 0o755 if is_program else 0o644
        archive.addfile(member, file)


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mtime = tarfile.SYMTYPE, target, int(datetime.now(UTC).timestamp())
    archive.addfile(member)
