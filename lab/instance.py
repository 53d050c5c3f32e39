"""One lab on this machine: its names, folders and processes.

`$SLIPWAY_LAB` names the instance (default "slipway"), so that tests can run next to a user's demo. Everything that the
lab creates on the machine has this name: the bridge, the nftables table, the state folder, and a variable in the
environment of each of its processes, by which later commands find them.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from slipway.lab.steps import StepFailed

MARK = "SLIPWAY_LAB_MARK"
# The kernel's limit for an interface name: IFNAMSIZ without the final NUL.
MAX_INTERFACE = 15


def cache_dir() -> Path:
    """The cache folder: system trees, the package mirror."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway"


@contextmanager
def folder_lock(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, which the kernel releases with the process; yields the folder's inode."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield os.fstat(handle).st_ino
    finally:
        # Explicitly: gevent, which pyinfra brings, delays the close of a folder until its loop runs.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def write(path: Path, text: str) -> None:
    """Write a file of the lab's state atomically."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


class Instance:
    """Names and folders of one lab."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or os.environ.get("SLIPWAY_LAB", "slipway")
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", self.name):
            raise StepFailed(
                "Name the lab", f"SLIPWAY_LAB is {self.name!r}; expected at most 12 lower-case letters and digits"
            )
        state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        self.state = state_home / "slipway" / self.name
        self.bridge = f"{self.name}-br"[:MAX_INTERFACE]
        self.table = f"slipway_lab_{self.name}"

    @property
    def hosts_dir(self) -> Path:
        return self.state / "hosts"

    def mark(self, role: str) -> str:
        return f"{self.state}:{role}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Serialise `up` and `down` of an instance.

        The state folder itself is locked, so that no lock file remains; a waiter whose folder was removed starts over.
        """
        while True:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            with folder_lock(self.state) as locked:
                if self.state.exists() and locked == self.state.stat().st_ino:
                    yield
                    return

    @contextmanager
    def marking(self, role: str) -> Iterator[None]:
        """Mark the commands that the block runs: they survive this process, and `down` must find them."""
        os.environ[MARK] = self.mark(role)
        try:
            yield
        finally:
            del os.environ[MARK]

    def processes(self, role: str | None = None) -> dict[int, str]:
        """The roles of this lab's processes by process id; `role` limits them to one."""
        found = {}
        prefix = f"{MARK}={self.state}:".encode()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = environ.read_bytes().split(b"\0")
            except OSError:
                continue  # gone meanwhile
            for variable in variables:
                if variable.startswith(prefix):
                    its_role = variable[len(prefix) :].decode()
                    if role in (None, its_role):
                        found[int(environ.parent.name)] = its_role
        return found

    def start(self, role: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a process that outlives this command; its output goes to `log/<role>.log`."""
        log = self.state / "log" / f"{role.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                env={**os.environ, **(env or {}), MARK: self.mark(role)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
        # A new process's environment is not readable at once; wait until the mark is visible.
        wait_until(f"Start {role}", lambda: process.poll() is not None or process.pid in self.processes(role), 60)

    def log_end(self, role: str) -> str:
        log = self.state / "log" / f"{role.replace('/', '-')}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def stop(self, role: str | None = None) -> None:
        """Stop this lab's processes, or those of one role, and wait for them."""
        deadline = time.monotonic() + 15
        while left := [pid for pid in self.processes(role) if pid != os.getpid()]:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise StepFailed(f"End the processes of {role or 'the lab'}", f"still there: {left}")
            time.sleep(0.05)


def wait_until(
    what: str, answer: Callable[[], bool], seconds: float, log: Callable[[], str] = lambda: "", pause: float = 0.05
) -> None:
    """Call `answer` until it is true, with a `pause` between; StepFailed with the end of `log` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not answer():
        if time.monotonic() > deadline:
            raise StepFailed(what, f"no answer within {seconds:g} s", output=log())
        time.sleep(pause)


def python() -> str:
    return sys.executable
