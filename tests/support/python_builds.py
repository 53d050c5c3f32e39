"""A stand-in for a build of Python by python-build-standalone, and the mirror that uv gets it from.

uv installs only what has the hash that its own list of builds names, and the builds are where a lab may not reach. The
stand-in is a Python of this machine, in a list that has it alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from slipway.settings.model import Settings

# Prints a Python's version, and the folders of it and of its libraries.
ABOUT = """\
import json, sys, sysconfig
print(json.dumps([*sys.version_info[:3], sys.base_prefix, sysconfig.get_config_var("LIBDIR")]))
"""
# Parts of lib/python3.12 that no backend needs.
LEFT_OUT = ("/test", "/idlelib", "/site-packages/", "/__pycache__", "/config-", "/ensurepip/")


def place(version: str) -> str:
    """The path of a build's archive below a mirror."""
    return f"20250101/cpython-{version}+20250101-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"


def listed(version: str, archive: bytes) -> str:
    """uv's list of builds, as if there were only this one."""
    major, minor, patch = map(int, version.split("."))
    build = {
        **{"name": "cpython", "os": "linux", "libc": "gnu", "major": major, "minor": minor, "patch": patch},
        **{"arch": {"family": "x86_64", "variant": None}, "variant": None, "prerelease": "", "build": "20250101"},
        "url": f"{Settings.model_fields['python_mirror'].default}/{quote(place(version))}",
        "sha256": hashlib.sha256(archive).hexdigest(),
    }
    return json.dumps({f"cpython-{version}-linux-x86_64-gnu": build})


def here(minor: str) -> str:
    """The path of this machine's own Python of a version such as "3.12"; "" if there is none. One of pyenv's is not in
    the path unless it is chosen."""
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [*map(str, versions.glob(f"{minor}.*/bin/python{minor}")), shutil.which(f"python{minor}") or "false"]
    runs = (one for one in found if subprocess.run([one, "-V"], capture_output=True, check=False).returncode == 0)
    return next(runs, "")


@contextmanager
def mirror(program: str, folder: Path, address: str) -> Iterator[str]:
    """Serve an archive of a Python, and the list that has its hash as builds.json; yields the URL."""
    said = subprocess.run([program, "-c", ABOUT], capture_output=True, text=True, check=True)
    *numbers, prefix, libraries = json.loads(said.stdout)
    version = ".".join(map(str, numbers))
    archive = folder / place(version)
    _pack(archive, Path(prefix), ".".join(map(str, numbers[:2])), libraries)
    (folder / "builds.json").write_text(listed(version, archive.read_bytes()))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_port}"
        server.shutdown()


def _pack(archive: Path, prefix: Path, minor: str, libraries: str) -> None:
    """Make an archive as a build's: it runs from any folder."""
    archive.parent.mkdir(parents=True)
    name = f"bin/python{minor}"
    program = (prefix / name).read_bytes()
    # A shared libpython is looked for where this Python was built: the path in the program, as long as before.
    where = f"{libraries}\0".encode()
    program = program.replace(where, b"$ORIGIN/../lib".ljust(len(where), b"\0"))
    moved = archive.with_name("program")
    moved.write_bytes(program)
    moved.chmod(0o755)
    with tarfile.open(archive, "w:gz", compresslevel=1) as out:
        out.add(moved, f"python/{name}")
        for library in (prefix / "lib").glob(f"libpython{minor}.so*"):
            out.add(library, f"python/lib/{library.name}")
        out.add(prefix / f"lib/python{minor}", f"python/lib/python{minor}", filter=_needed)


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uname = member.gname = ""
    member.uid = member.gid = 0
    return None if any(part in member.name for part in LEFT_OUT) or member.name.endswith(".a") else member
