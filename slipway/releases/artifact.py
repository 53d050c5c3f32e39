"""A release as an archive: the frontend, built locally, and the backend's source in one tar file, without the files
that the server has already."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from pathlib import Path

import brotli

from slipway.engine import lock
from slipway.releases import checks, shipped, sources
from slipway.releases.builds import (
    BUILD,
    Builds,
    begin,
    begin_backend,
    check_pointers,
    check_size,
    files_of,
    frontend_of,
    links_of,
    pages_of,
)
from slipway.settings.model import Settings

# Suffixes of files worth compressing; pictures and fonts are compressed already.
COMPRESSED = {".html", ".css", ".js", ".mjs", ".json", ".svg", ".txt", ".xml", ".webmanifest", ".map", ".ico"}
# Smaller files gain hardly anything.
MIN_COMPRESSED_BYTES = 1024

# The maximum levels, as each file is compressed only once.
BROTLI_QUALITY, GZIP_LEVEL = 11, 9
# Metadata of the release, for `slipway releases`, and for the release program in a rollback.
RECORD = checks.RECORD
# In a release: the source of a frontend that is built on the server.
SOURCE = "frontend/source"
# A shell command that prints the ids of the releases in its folder, without interrupted uploads and other entries such
# as "lost+found".
IDS = (
    "for id in *; do case $id in *.new | *[!A-Za-z0-9._-]*) ;;"
    " *) [ ! -e $id/backend ] && [ ! -e $id/frontend ] || echo $id ;; esac; done"
)
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
        shipped_files |= dict(files_of("backend", output))
        links = dict(links_of("backend", output))
    files = [one for one in shipped_files.items() if not f"{one[0]}/".startswith(left_out)]
    check_size(files, settings.release_max_mb)
    check_pointers(files)
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
    exported = sources.of(settings).exported
    taken = [(part, shipped.of(folder, is_frontend, exported)) for part, folder, is_frontend in found]
    return [text for part, one in taken if (text := one.told(part))]


def _to_ship(settings: Settings, parts: Collection[str], builds: Builds) -> Iterator[tuple[str, Path]]:
    """The files of parts: the name in the release, and the local path."""
    found = sources.of(settings)
    if "backend" in parts:
        yield from _taken("backend", shipped.of(found.backend, False, found.exported))
    if "frontend" in parts and settings.frontend_build_on == "server":
        output = f"{SOURCE}/{settings.frontend_output}/"
        source = _taken(SOURCE, shipped.of(frontend_of(settings), True, found.exported))
        yield from ((name, path) for name, path in source if not name.startswith(output))
    elif "frontend" in parts:
        yield from pages_of(BUILD, begin(settings, builds).result())


def record(settings: Settings) -> str:
    """The release's metadata as JSON: author, time and source, and the services that it has."""
    found = sources.of(settings)
    described = {"id": release_id(settings), "when": lock.now(), "who": lock.who()}
    source = {"commit": found.commit, "ref": found.ref, "path": settings.arguments.release_path}
    services = [service.name for service in settings.all_services]
    return json.dumps({**described, **source, "services": services}) + "\n"


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


def _taken(prefix: str, source: shipped.Shipped) -> Iterator[tuple[str, Path]]:
    return ((f"{prefix}/{name}", path) for name, path in source.files.items())


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
