"""The operator's known_hosts: the hosts of one run write it at the same time, and so do runs side by side."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from slipway.turns import turn


def remember(path: str, name: str, keys: set[str]) -> None:
    """Let the file have exactly these keys, as "ssh-ed25519 AAAA...", for a host's name. Raises OSError."""
    file = Path(path).resolve()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone():
        shown = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False)
        found = {" ".join(line.split()[1:3]) for line in shown.stdout.splitlines() if line and line[0] != "#"}
        if not keys or found == keys:
            return
        lines = "".join(f"{name} {key}\n" for key in sorted(keys))
        if not found:
            with file.open("a") as known_hosts:
                known_hosts.write(lines)
            return
        # Replace the file atomically: a connection meanwhile must find a key of the host.
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
def alone() -> Iterator[None]:
    """Hold the lock of those who change a known_hosts file, which they replace: one for all of this user's."""
    with ExitStack() as stack:
        # Without it where there is no place for it, or no lock on its file system.
        with suppress(OSError):
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            file = cache / "slipway/known_hosts.lock"
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(file.open("a"))
            stack.enter_context(turn(lock.fileno()))
        yield
