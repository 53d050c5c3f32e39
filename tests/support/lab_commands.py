"""`slipway lab` in a lab of the tests' own that has nothing in it, and what it leaves on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import hosts
from lab.instance import MARK, Instance
from support.lab_host import LAB, PROJECT, TIMEOUT

# Beside the lab of the run's hosts.
OWN_LAB = f"{LAB}x"


def cli(*args: str, env: dict[str, str] | None = None, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """`slipway lab ARGS`, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *args],
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def on(host: hosts.Host, script: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """Run a shell script on a host over ssh."""
    return subprocess.run(host.ssh_argv(script), capture_output=True, text=True, timeout=timeout)


def output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def traces(lab: Instance) -> list[str]:
    """All that this lab has on the machine, found without the lab's own code."""
    mark = f"{MARK}={lab.state}:".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(f"process {process.name} {(process / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    found += [
        f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(lab.state) in line
    ]
    found += [f"bridge {lab.bridge}" for line in output(["ip", "-br", "link"]).splitlines() if lab.bridge in line]
    found += [f"rules {line}" for line in output(["nft", "list", "tables"]).splitlines() if lab.table in line]
    found += [f"state {path}" for path in lab.state.parent.glob(f"{lab.name}*")]
    return found


def knock(address: str) -> str:
    """A command that succeeds where ssh's port at the address is open."""
    return f"timeout 3 bash -c '</dev/tcp/{address}/22'"


def reachable(host: hosts.Host) -> bool:
    try:
        return on(host, "true", timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def own_lab() -> Iterator[Instance]:
    """A lab with nothing in it, and nothing left of it at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_LAB", OWN_LAB)
        hosts.down(everything=True)
        yield Instance()
        hosts.down(everything=True)
