"""The operator's known_hosts: the hosts of one run write it at the same time, and so do runs side by side."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TURN_SECONDS = 0.02


def remember(path: str, name: str, keys: set[str]) -> None:
    """Let the file have exactly these keys, as "ssh-ed25519 AAAA...", for a host's name. Raises OSError."""
    file = Path(path).resolve()
    with alone(file):
        shown = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False)
        found = {" ".join(line.split()[1:3]) for line in shown.stdout.splitlines() if line and line[0] != "#"}
        if not keys or found == keys:
            return
        lines = "".join(f"{name} {key}\n" for key in sorted(keys))
        if not found:
            with file.open("a") as known_hosts:
                known_hosts.write(lines)
            return
        # At once: without its key the host would be a stranger to whoever reads the file meanwhile.
        new = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            shutil.copy2(file, new)
            subprocess.run(["ssh-keygen", "-q", "-R", name, "-f", new], capture_output=True, check=True)
            with new.open("a") as known_hosts:
                known_hosts.write(lines)
            new.replace(file)
        finally:
            for rest in (new, Path(f"{new}.old")):
                rest.unlink(missing_ok=True)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold the lock of those who change a known_hosts file: its folder's, as the file itself is replaced."""
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        # No lock on a network file system.
        with suppress(OSError):
            while not _locked(folder):
                # Blocking in the kernel would stop the other hosts of this run, too.
                time.sleep(TURN_SECONDS)
        yield
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
