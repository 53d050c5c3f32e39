"""The nspawn backend: a container with real systemd, in seconds, on a copy-on-write view of a system tree."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

from lab import network
from lab.instance import Instance, wait_until
from lab.steps import StepFailed, run

DBUS_SOCKET = "/run/dbus/system_bus_socket"


class Nspawn:
    """Implements `lab.backend.Backend`."""

    name = "nspawn"

    def __init__(self, lab: Instance) -> None:
        self.lab = lab

    def create(self, name: str, tree: Path) -> Path:
        """Mount a writable view of `tree` and return its root; the host's earlier changes are kept."""
        folder = self.lab.hosts_dir / name
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        root = folder / "root"
        if not is_mounted(root):
            options = f"lowerdir={tree},upperdir={folder / 'upper'},workdir={folder / 'work'}"
            run("Mount the host's disk", ["mount", "-t", "overlay", "slipway-lab", "-o", options, str(root)])
        return root

    def start(self, name: str) -> None:
        """Boot the host. Returns at once; the caller waits for ssh."""
        ensure_dbus(self.lab)
        self.lab.start(f"host/{name}", boot_command(self.lab.hosts_dir / name / "root", name, self.lab.bridge))
        wait_until("Start the container", lambda: self._has_port(name), 10, self.lab.log_end(f"host/{name}"))
        network.isolate(self.lab)

    def _has_port(self, name: str) -> bool:
        if not self.is_running(name):
            raise StepFailed("Start the container", "it ended", output=self.lab.log_end(f"host/{name}"))
        return bool(run("List the ports", ["ip", "link", "show", "master", self.lab.bridge]).strip())

    def is_running(self, name: str) -> bool:
        return bool(self.lab.processes(f"host/{name}"))

    def stop(self, name: str) -> None:
        """Cut the power."""
        self.lab.stop(f"host/{name}")

    def destroy(self, name: str) -> None:
        """End the host and remove its disk."""
        self.stop(name)
        folder = self.lab.hosts_dir / name
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def boot_command(root: Path, name: str, bridge: str) -> list[str]:
    """The command that boots `root` with its own network namespace on `bridge`."""
    return [
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={name}"),
        f"--network-bridge={bridge}",
        # No registration with systemd-machined: it is not there where systemd is not process 1.
        *("--keep-unit", "--register=no", "--link-journal=no"),
        *("--resolv-conf=off", "--timezone=off", "--console=pipe"),
    ]


def ensure_dbus(lab: Instance) -> None:
    """nspawn wants a system bus; where none runs we start one, which ends with the lab."""
    if not _bus_answers():
        Path(DBUS_SOCKET).parent.mkdir(parents=True, exist_ok=True)
        Path(DBUS_SOCKET).unlink(missing_ok=True)
        lab.start("dbus", ["dbus-daemon", "--system", "--nofork", "--nopidfile"])
        wait_until("Start a system bus", _bus_answers, 5)


def _bus_answers() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(DBUS_SOCKET)
        except OSError:
            return False
        return True


def mounts_below(folder: Path) -> list[str]:
    """Mount points at or below `folder`, the deepest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), reverse=True)


def is_mounted(root: Path) -> bool:
    return str(root) in mounts_below(root)


def unmount_below(folder: Path) -> None:
    """Unmount all below `folder`; a container that was just killed may hold its root a moment longer."""
    deadline = time.monotonic() + 10
    while points := mounts_below(folder):
        for point in points:
            try:
                run("Unmount the host's disk", ["umount", point])
            except StepFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
