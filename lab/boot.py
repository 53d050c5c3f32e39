"""Booting a host: its backend, its disk, and waiting for its ssh server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.lab import network
from slipway.lab.backend import Backend
from slipway.lab.instance import Instance, folder_lock, wait_until
from slipway.lab.nspawn import Nspawn
from slipway.lab.qemu import Qemu
from slipway.lab.record import Host
from slipway.lab.steps import Progress, StepFailed, run

BACKENDS: dict[str, Callable[[Instance], Backend]] = {"nspawn": Nspawn, "qemu": Qemu}
# Console output of a failed boot: a kernel panic, or the shell of Debian's initramfs.
BOOT_FAILED = ("Kernel panic - not syncing", "(initramfs)")
# Timeout of a connection while a host boots: qemu accepts it before the host listens, and it is then lost.
BOOT_POLL_SECONDS = 2


def backend_of(lab: Instance, name: str) -> Backend:
    return BACKENDS[name](lab)


@contextmanager
def booting(lab: Instance, host: Host) -> Iterator[None]:
    """Mark the host as booting, so that others don't report it as silent. The lab's lock is free meanwhile."""
    with folder_lock(lab.hosts_dir / host.name):
        yield


def start_booting(lab: Instance, host: Host) -> Callable[[Progress], None]:
    """Start a host's boot; returns a function that waits for its end."""
    name, backend, role = host.name, backend_of(lab, host.backend), f"host/{host.name}"
    before = len(lab.log_end(role))
    network.forget(lab, host.number)
    backend.start(name, base_of(lab, name))

    def said() -> str:
        return lab.log_end(role)[before:]

    def answers() -> bool:
        if not lab.processes(role) or any(sign in said() for sign in BOOT_FAILED):
            raise StepFailed(f"Boot {name}", "boot failed; the end of its console:", output=said())
        return ssh_answers(host, BOOT_POLL_SECONDS)

    def wait(progress: Progress) -> None:
        with progress.step(f"Boot {name} until ssh answers"):
            wait_until("Wait for ssh", answers, backend.boot_seconds, said, backend.boot_pause)

    return wait


def base_of(lab: Instance, name: str) -> Path:
    """The base that the host's disk is a layer on."""
    base = Path((lab.hosts_dir / name / "base").read_text())
    if not base.exists():
        raise StepFailed(
            f"Create the disk of {name}", f"its base {base} is missing; remove the host: slipway lab down --name {name}"
        )
    return base


def is_open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def greets(host: Host, seconds: float = 5) -> bool:
    """Whether an ssh server sends its banner (RFC 4253, section 4.2); a forwarded port accepts connections anyway."""
    try:
        with socket.create_connection((host.address, host.ssh_port), timeout=seconds) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def ssh_answers(host: Host, seconds: float = 5) -> bool:
    if not greets(host, seconds):
        return False
    try:
        run("Log in", host.ssh_argv("true"), timeout=30)
    except StepFailed:
        return False  # pam_nologin until the boot is complete
    return True
