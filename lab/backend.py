"""The interface of a lab backend: containers (lab/nspawn.py) and virtual machines (lab/qemu.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from slipway.lab.seed import Seed
from slipway.lab.steps import Progress
from slipway.systems import System


class Backend(Protocol):
    """Manages hosts by name. Each method can be repeated after an interruption."""

    name: str
    # Maximum time of a boot until ssh answers.
    boot_seconds: float
    # The interval between two checks.
    boot_pause: float

    def find_base(self, system: System, progress: Progress) -> Path:
        """The base of a host's disk; built unless cached."""

    def address(self, number: int) -> str:
        """The address at which this machine reaches the host with this number, 10 to 254."""

    def inner_address(self, number: int) -> str:
        """The host's own address."""

    def network_file(self, number: int) -> str:
        """systemd-networkd's file for the host's interface."""

    def resolver(self) -> str:
        """The host's /etc/resolv.conf."""

    def create(self, name: str, base: Path, seed: Seed | None, disk_gb: int) -> None:
        """Create the host's disk: a layer on the snapshot that `Layers` names, or on `base` with `seed` written to it.
        An existing disk is kept."""

    def start(self, name: str, base: Path) -> None:
        """Boot it. Returns at once; the caller waits for ssh."""

    def is_running(self, name: str) -> bool: ...

    def stop(self, name: str) -> None:
        """Pull the plug; the disk stays. For a container this is no power cut: its kernel, this machine's, runs on."""

    def destroy(self, name: str) -> None:
        """Stop it and remove its disk."""
