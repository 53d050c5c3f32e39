"""A release as an archive: the frontend built on this machine, and the backend's source, in one tar file."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

from slipway.settings import Settings

# What a browser gains from having compressed; pictures and fonts are compressed already.
COMPRESSED = {".html", ".css", ".js", ".mjs", ".json", ".svg", ".txt", ".xml", ".webmanifest", ".map", ".ico"}
# Below this, a compressed file with its headers is hardly smaller.
LEAST_COMPRESSED_BYTES = 1024
LEFT_OUT = {"__pycache__", "node_modules", "tests"}


@dataclass(frozen=True)
class Release:
    """`id` sorts by time; `archive` is a tar.gz of `backend/` and `frontend/build/`."""

    id: str
    archive: bytes


# `cache` alone lets hosts that ask at the same time each make an id, and a second may lie between them.
_naming = threading.Lock()


def _id(source: str) -> str:
    """One id a run, the same on every host: UTC time, and the commit of `source` where there is one."""
    with _naming:
        return _new_id(source)


@cache
def _new_id(source: str) -> str:
    time = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    if shutil.which("git") is None:
        return time
    command = ["git", "-C", source, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{time}-{commit.stdout.strip()}" if commit.returncode == 0 else time


# One a run: hosts are shipped to side by side, from one folder.
_builds: dict[tuple[str, str], Future[Path]] = {}


def begin(settings: Settings) -> Future[Path]:
    """Start the build of the frontend, if this run has not yet; the result is its output folder, or PyinfraError."""
    key = (settings.frontend_source, settings.frontend_build)
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


def build(settings: Settings, groups: tuple[str, ...]) -> Release:
    """Build what hosts in `groups` need: web the frontend, app the backend. Raises PyinfraError if a build fails."""
    files: list[tuple[str, bytes]] = []
    if "app" in groups:
        source = Path(settings.backend_source)
        files += [(f"backend/{name}", data) for name, data in _files(source)]
    if "web" in groups:
        for name, data in _files(begin(settings).result()):
            files.append((f"frontend/build/{name}", data))
            if Path(name).suffix in COMPRESSED and len(data) >= LEAST_COMPRESSED_BYTES:
                files.append((f"frontend/build/{name}.gz", gzip.compress(data, 9, mtime=0)))
    return Release(_id(settings.backend_source), _archive(files))


def _build_frontend(settings: Settings) -> Path:
    done = subprocess.run(  # noqa: S602  the setting is a shell command, as npm scripts are
        settings.frontend_build,
        shell=True,
        cwd=settings.frontend_source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    output = Path(settings.frontend_source) / settings.frontend_output
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
