"""`slipway lab` in an empty lab of the tests' own, and what it leaves on the machine."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway.lab import hosts, network
from slipway.lab.instance import MARK, Instance
from support.lab_host import LAB, PROJECT, TIMEOUT

# Beside the lab of the run's hosts.
OWN_LAB = f"{LAB}x"


def cli(*args: str, env: dict[str, str] | None = None, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """`slipway lab ARGS`, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "slipway.lab", *args],
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
    """Everything of this lab on the machine, found without the lab's own code."""
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
    """A command that succeeds if the address's SSH port is open."""
    return f"timeout 3 bash -c '</dev/tcp/{address}/22'"


def reachable(host: hosts.Host) -> bool:
    try:
        return on(host, "true", timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def addresses_of(lab: Instance, name: str) -> list[str]:
    """The lab's DNS's answer to a query for a name's IPv4 addresses (RFC 1035, section 4)."""
    subnet: str = json.loads((lab.state / "network.json").read_text())["subnet"]
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack("!B2H", 0, 1, 1)
        client.sendto(question, (subnet.replace(".0/24", ".1"), network.SERVICES["dns"]))
        answer = client.recv(512)
    # Names are not compressed here: the record's name, type, class and TTL precede its length and address.
    begin = len(question) + len(labels) + 1 + 10
    return [socket.inet_ntoa(answer[begin : begin + 4])] if struct.unpack("!H", answer[6:8])[0] == 1 else []


@contextmanager
def own_lab() -> Iterator[Instance]:
    """An empty lab, completely removed at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_LAB", OWN_LAB)
        hosts.down(everything=True)
        yield Instance()
        hosts.down(everything=True)
