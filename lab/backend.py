"""What a kind of throwaway host must be able to do: containers (lab/nspawn.py) and virtual machines (lab/qemu.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from slipway.lab.seed import Seed
from slipway.lab.steps import Progress
from slipway.systems import System


class Backend(Protocol):
    """Hosts by name. Each method may be called again after it was interrupted."""

    name: str
    # What a boot may take until ssh answers.
    boot_seconds: float
    # The pause between two looks whether it does.
    boot_pause: float

    def find_base(self, system: System, progress: Progress) -> Path:
        """What a host's disk is a change to; built where it is not cached yet."""

    def address(self, number: int) -> str:
        """Where this machine reaches the host with this number, 10 to 254."""

    def inner_address(self, number: int) -> str:
        """The address that the host itself has."""

    def network_file(self, number: int) -> str:
        """systemd-networkd's file for the host's interface."""

    def resolver(self) -> str:
        """The host's /etc/resolv.conf."""

    def create(self, name: str, base: Path, seed: Seed | None, disk_gb: int) -> None:
        """Give the host a disk: a layer of changes on the snapshot that `Layers` names, or on `base` with `seed` in
        it. One that is there stays."""

    def start(self, name: str, base: Path) -> None:
        """Boot it. Returns at once; the caller waits for ssh."""

    def is_running(self, name: str) -> bool: ...

    def stop(self, name: str) -> None:
        """Pull the plug; the disk stays. A container's kernel, this machine's, lives on: to it this is no power cut."""

    def destroy(self, name: str) -> None:
        """Stop it and remove its disk."""
