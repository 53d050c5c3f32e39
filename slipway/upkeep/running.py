"""Commands on a host, and which of its services run with which files.

Sent to the host together with on_host.py. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The session's own, or restarted only by a reboot.
NOT_RESTARTED = re.compile(
    r"(dbus|systemd-logind|console-getty|user@|getty@|serial-getty@|user-runtime-dir@|slipway-).*"
)
# First what others need.
ORDER = ("mongod.", "valkey", "redis")


class Failed(Exception):
    """An error that the user sees."""


def run(*command: str) -> str:
    """The output of a command. Raises Failed."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        raise Failed(f"{' '.join(command[:2])} ended with {done.returncode}: {last}")
    return done.stdout


def succeeds(script: str) -> bool:
    return subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode == 0


def affected(names: Iterable[str]) -> dict[str, list[str]]:
    """The running services that use files of these packages, and which packages."""
    owners = {os.path.realpath(file): name for name in names for file in files_of(name)}
    found: dict[str, list[str]] = {}
    for unit, maps in running().items():
        its = sorted({owners[file] for file in maps if file in owners})
        if its:
            found[unit] = its
    return found


def files_of(package: str) -> list[str]:
    done = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if "/bin/" in line or "/sbin/" in line or "/lib" in line]


def running() -> dict[str, set[str]]:
    """The files that each running service has mapped, its programs and libraries."""
    listed = run("systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend")
    found = {}
    for unit in re.findall(r"^(\S+\.service) ", listed, re.MULTILINE):
        if NOT_RESTARTED.match(unit):
            continue
        group = run("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()
        files: set[str] = set()
        for process in processes(f"/sys/fs/cgroup{group}") or processes(f"/sys/fs/cgroup/systemd{group}"):
            files |= mapped(process)
        found[unit] = files
    return found


def processes(group: str) -> list[str]:
    try:
        return Path(f"{group}/cgroup.procs").read_text().split()
    except OSError:
        return []


def mapped(process: str) -> set[str]:
    try:
        lines = Path(f"/proc/{process}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {parts[5] for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5].startswith("/usr/")}


def outdated() -> list[str]:
    """The services that run with a file that has been replaced, in the order in which they are restarted."""
    names = [unit for unit, files in running().items() if any(file.endswith(" (deleted)") for file in files)]
    return sorted(names, key=lambda unit: (not unit.startswith(ORDER), unit.startswith(("nginx", "ssh")), unit))
