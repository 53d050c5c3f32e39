"""The backups' configuration and state, and helpers to run commands and print messages.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

STATE, RUN = "/var/lib/slipway/backup", "/run/slipway-backup"
CACHE = "/var/cache/slipway-backup"
# What restic says before the reason why it tries something again.
ATTEMPT = r"\w+\(<.*>.*\) returned error, retrying after \S+: "


class Facts(NamedTuple):
    """The program's configuration. Times are in seconds, sizes in MiB."""

    # By name, in restic's format.
    repositories: dict[str, str]
    # The folder of the secrets, a file each; systemd passes them to units in another one.
    credentials: str
    # Environment variables of restic that are secrets.
    variables: list[str]
    known_hosts: str
    paths: list[str]
    address: str
    port: int
    admin: str
    data: str
    # The command of a mongod with the same data layout, without its data folder.
    mongod: list[str]
    replica_set: str
    member: str
    # The sites' maintenance flags, and the units to restart after a restore.
    flags: list[str]
    units: list[str]
    # The files of generated secrets, which a new host would generate again.
    secrets: list[str]
    daily: int
    weekly: int
    monthly: int
    days: int
    prunes: bool
    check: str
    anonymise: str
    seconds: int
    # The certificate of the authority by which members of a replica set know each other, "" for a set without TLS.
    authority: str = ""
    # The folders of uploads that are mounted here; with each the folder that the mount must be below, "" for none.
    uploads: dict[str, str] = {}  # noqa: RUF012 (a tuple never changes it)
    # The timers of the sites' scheduled jobs, which a restore stops.
    timers: list[str] = []  # noqa: RUF012
    # Those of `paths` that the settings name, and no apply makes.
    named: list[str] = []  # noqa: RUF012


class Failed(Exception):
    """An error that the user sees."""


class Busy(Failed):
    """Another run holds the lock."""


class Ended(Failed):
    """A signal ends the program."""


def load(folder: str) -> Facts:
    with open(f"{folder}/backup.json", encoding="utf-8") as file:
        return Facts(**json.load(file))


def tell(text: str) -> None:
    print(text, flush=True)


def secret(facts: Facts, name: str) -> str:
    """The file of a secret."""
    given = os.environ.get("CREDENTIALS_DIRECTORY", "")
    file = f"{given}/{name}" if given and os.path.exists(f"{given}/{name}") else f"{facts.credentials}/{name}"
    if not os.path.exists(file):
        raise Failed(f"found no secret {name} on the host; `slipway apply` installs it")
    return file


def text_of(file: str) -> str:
    with open(file, encoding="utf-8", newline="") as opened:
        return opened.read()


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, timeout: float | None = None) -> str:
    """The output of a command. Raises Failed with the end of its errors, also after `timeout` seconds."""
    given = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run([*command], env=given, capture_output=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        said = last_lines((expired.stderr or b"").decode(errors="replace"))
        raise Failed(f"{command[0]} had no answer for {timeout:g} s{said and f': {said}'}") from None
    if done.returncode:
        said = last_lines((done.stderr or done.stdout).decode(errors="replace"))
        raise Failed(f"{command[0]} ended with {done.returncode}: {said}")
    return done.stdout.decode()


def run_command(setting: str, command: str, uri: str) -> None:
    """Run the user's own shell command on the MongoDB at `uri`. Raises Failed with the name of its setting."""
    tell(f"Running {setting}")
    # mongosh prints warnings among its output where it cannot write to HOME, as in the units' sandbox.
    with private_folder() as home:
        given = {**os.environ, "MONGO_URL": uri, "HOME": home}
        done = subprocess.run(
            ["sh", "-euc", command], env=given, capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode:
        said = last_lines(done.stderr) or last_lines(done.stdout) or "it printed nothing"
        raise Failed(f"{setting}: the command ended with {done.returncode}: {said}")


def last_lines(text: str, number: int = 5) -> str:
    """The last lines, without a stack trace of a program in Go: functions, and below each its place; and of restic's
    attempts only the one that it ends with."""
    said = re.sub(r"^\S.*\n\s+\S+\.(go|s):\d+\n?", "", text.strip(), flags=re.MULTILINE)
    said = re.sub(rf"^{ATTEMPT}.*\n", "", said, flags=re.MULTILINE)
    return "\n".join(re.sub(f"^{ATTEMPT}", "", line) for line in said.splitlines()[-number:])


@contextmanager
def alone(name: str, patience: int = 0) -> Iterator[None]:
    """A lock by name. Raises Busy if another process holds it for longer than `patience` seconds."""
    os.makedirs(RUN, mode=0o711, exist_ok=True)
    end = time.monotonic() + patience
    with open(f"{RUN}/{name}.lock", "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= end:
                    file.seek(0)
                    whose, since = file.read().strip() or "unknown", os.fstat(file.fileno()).st_mtime
                    began = time.strftime("%H:%M:%S", time.localtime(since))
                    raise Busy(
                        f"another {name} is running (process {whose}, since {began}): run this again when it has ended"
                    ) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def private_folder() -> Iterator[str]:
    """A temporary folder in memory that only root can enter."""
    os.makedirs(RUN, mode=0o711, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RUN) as folder:
        yield folder


def place_of(folder: str) -> str:
    """What a private mongod needs beside its data folder, in memory: its socket, and the oplog. One that was killed
    leaves it, so the next one of the same purpose finds it by its name."""
    return f"{RUN}/data-{folder.rpartition('.')[2]}"


def read_state() -> dict[str, Any]:
    """The times of the last steps; {} before the first backup."""
    return _read("state")


def read_drill() -> dict[str, Any]:
    """The report of the last drill; {} before the first one."""
    return _read("drill")


def _read(name: str) -> dict[str, Any]:
    try:
        with open(f"{STATE}/{name}.json", encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
            return found
    except (OSError, ValueError):
        return {}


def change_state(**changes: Any) -> None:
    """Change the state atomically; `slipway status` shows it."""
    with alone_briefly():
        write(f"{STATE}/state.json", json.dumps({**read_state(), **changes}, indent=2))


def change_state_of(name: str, **changes: Any) -> None:
    """The same for values of one repository, beside those of the others."""
    with alone_briefly():
        state = read_state()
        state |= {key: {**state.get(key, {}), name: value} for key, value in changes.items()}
        write(f"{STATE}/state.json", json.dumps(state, indent=2))


@contextmanager
def alone_briefly() -> Iterator[None]:
    os.makedirs(STATE, mode=0o700, exist_ok=True)
    with open(f"{STATE}/state.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: str, text: str) -> None:
    """Write a file atomically, readable only by root."""
    with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def end_on_signals() -> None:
    """Turn signals into exceptions, so that child processes are stopped too."""

    def stop(number: int, _frame: object) -> None:
        raise Ended(f"ended by {signal.Signals(number).name}")

    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, stop)


def be_nice() -> None:
    """Give everything else on the host priority, for the processors and the disk."""
    os.nice(19)
    subprocess.run(["ionice", "-c", "3", "-p", str(os.getpid())], check=False, stderr=subprocess.DEVNULL)
