"""A release as an archive: the frontend built on this machine, and the backend's source, in one tar file, without what
the server has already."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import brotli
from pyinfra.api.exceptions import PyinfraError

from slipway import lock, sources
from slipway.settings import Settings

# What a browser gains from having compressed; pictures and fonts are compressed already.
COMPRESSED = {".html", ".css", ".js", ".mjs", ".json", ".svg", ".txt", ".xml", ".webmanifest", ".map", ".ico"}
# Below this, a compressed file with its headers is hardly smaller.
LEAST_COMPRESSED_BYTES = 1024
LEFT_OUT = {"__pycache__", "node_modules", "tests"}


# The best that brotli and gzip can do: it is done once.
BROTLI_QUALITY, GZIP_LEVEL = 11, 9
# Which release it is, for people and `slipway releases`.
RECORD = ".release.json"
# Of a release that is built on the server.
SOURCE = "frontend/source"
# In an archive: the names of the files that are the current release's.
KEPT = ".kept"


@dataclass(frozen=True)
class Release:
    """`id` sorts by time. `archive` is a tar.gz of `backend/` and `frontend/build/` without `kept`, the files that the
    host's current release has too, and of RECORD."""

    id: str
    archive: bytes
    kept: tuple[str, ...] = ()


# `cache` alone lets hosts that ask at the same time each make an id, and a second may lie between them.
_naming = threading.Lock()


def release_id(settings: Settings) -> str:
    """One id a run, the same on every host: UTC time, and the commit where there is one."""
    commit = sources.of(settings).commit
    with _naming:
        return f"{_time()}-{commit}" if commit else _time()


@cache
def _time() -> str:
    return datetime.now(UTC).strftime("%Y%m%d%H%M%S")


# One a run: hosts are shipped to side by side, from one folder.
_builds: dict[tuple[Path, str], Future[Path]] = {}


def begin(settings: Settings) -> Future[Path]:
    """Start the build of the frontend, if this run has not yet; the result is its output folder, or PyinfraError."""
    key = (sources.of(settings).frontend, settings.frontend_build)
    if key not in _builds:
        _builds[key] = Future()
        # A daemon: a run that fails or is interrupted does not wait for it.
        threading.Thread(target=_fulfil, args=(_builds[key], settings), daemon=True).start()
    return _builds[key]


def _fulfil(build: Future[Path], settings: Settings) -> None:
    try:
        build.set_result(_build_frontend(settings))
    except Exception as error:
        build.set_exception(error)


def build(settings: Settings, parts: Collection[str], there: Mapping[str, str] | None = None) -> Release:
    """Build parts, of "backend" and "frontend", without the files that are `there`: SHA-256 in hexadecimal digits by
    name. Raises PyinfraError if a build fails."""
    files: list[tuple[str, bytes]] = []
    if "backend" in parts:
        files += [(f"backend/{name}", data) for name, data in _files(sources.of(settings).backend)]
    if "frontend" in parts and settings.frontend_build_on == "server":
        output = f"{settings.frontend_output}/"
        source = _files(sources.of(settings).frontend)
        files += [(f"{SOURCE}/{name}", data) for name, data in source if not name.startswith(output)]
    elif "frontend" in parts:
        for name, data in _files(begin(settings).result()):
            files += [(f"frontend/build/{name}{suffix}", its) for suffix, its in _variants(name, data)]
    kept, new = [], []
    for name, data in files:
        if there and there.get(name) == hashlib.sha256(data).hexdigest():
            kept.append(name)
        else:
            new.append((name, data))
    size = sum(len(data) for _, data in new) // 2**20
    if size > settings.release_max_mb:
        raise PyinfraError(
            f"release_max_mb: found a release of {size} MiB, expected at most {settings.release_max_mb}; leave out what"
            f" is not for visitors ({_largest(new)}), or allow more"
        )
    new.append((RECORD, record(settings).encode()))
    if kept:
        # Separated as `xargs -0` takes them, whatever is in a name.
        new.append((KEPT, "\0".join(kept).encode()))
    archive = _archive(new)
    return Release(release_id(settings), archive, tuple(kept))


def _largest(files: list[tuple[str, bytes]]) -> str:
    name, data = max(files, key=lambda file: len(file[1]))
    return f"the largest file is {name}, {len(data) // 2**20} MiB"


def record(settings: Settings) -> str:
    """Who has made the release, when, and of what, as JSON."""
    found = sources.of(settings)
    described = {"id": release_id(settings), "when": lock.now(), "who": lock.who()}
    return json.dumps({**described, "commit": found.commit, "ref": found.ref, "path": settings.release_path}) + "\n"


def _variants(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A file, and where it gains by that, the same compressed, by suffix."""
    yield "", data
    if Path(name).suffix in COMPRESSED and len(data) >= LEAST_COMPRESSED_BYTES:
        yield ".gz", gzip.compress(data, GZIP_LEVEL, mtime=0)
        yield ".br", brotli.compress(data, quality=BROTLI_QUALITY)


def _build_frontend(settings: Settings) -> Path:
    source = sources.of(settings).frontend
    done = subprocess.run(  # noqa: S602  the setting is a shell command, as npm scripts are
        settings.frontend_build,
        shell=True,
        cwd=source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    output = source / settings.frontend_output
    if done.returncode != 0 or not (output / "index.html").is_file():
        reason = f"exit code {done.returncode}" if done.returncode else f"it left no {output}/index.html"
        end = "\n".join(f"  | {line}" for line in done.stdout.splitlines()[-20:])
        raise PyinfraError(f"frontend_build failed ({reason}): {settings.frontend_build}\n{end}")
    return output


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Relative name and content of each file, in order; hidden files (an .env, say) and tests stay here."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part in LEFT_OUT or part.startswith(".") for part in parts):
            yield "/".join(parts), path.read_bytes()


def _archive(files: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            # Nginx makes an ETag of time and size: two releases must not share it.
            member.size, member.mode, member.mtime = len(data), 0o644, int(datetime.now(UTC).timestamp())
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
