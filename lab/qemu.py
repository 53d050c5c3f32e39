"""The qemu backend: a virtual machine with the distribution's own kernel, on a copy-on-write disk, without root.

It uses qemu's user network: the host can reach the Internet, and its ssh and web ports are forwarded from a separate
loopback address.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from slipway.lab import image, network
from slipway.lab.instance import Instance, cache_dir, write
from slipway.lab.layers import Layers
from slipway.lab.seed import Seed
from slipway.lab.steps import Progress, StepFailed, remove, run
from slipway.systems import SYSTEMS, System

# The addresses of qemu's user network. https://www.qemu.org/docs/master/system/devices/net.html
GUEST, GATEWAY, RESOLVER = "10.0.2.15", "10.0.2.2", "10.0.2.3"
FORWARDED = (22, 80, 443)
MEMORY_MB, PROCESSORS = 2048, 2
KVM = Path("/dev/kvm")
# A kernel under KVM prints its first line within a second; an unusable /dev/kvm prints nothing.
KVM_TRY_SECONDS = 15


class Qemu:
    """Implements `slipway.lab.backend.Backend`."""

    name = "qemu"
    # Only ends a hang: in software emulation, on a busy machine, sshd answered after 300 s.
    boot_seconds: float = 900
    # Polling takes processor time from the emulation.
    boot_pause: float = 0.5

    def __init__(self, lab: Instance) -> None:
        self.lab = lab

    @property
    def net(self) -> network.Network:
        return network.of(self.lab)

    def find_base(self, system: System, progress: Progress) -> Path:
        return image.disk(system, progress).folder

    def address(self, number: int) -> str:
        return f"127.213.{self.net.number}.{number}"

    def inner_address(self, number: int) -> str:
        return GUEST

    def network_file(self, number: int) -> str:
        # qemu's network has IPv6 without a route: waiting for an address would delay a boot by seconds.
        return (
            f"[Match]\nName=en* eth*\n\n[Network]\nAddress={GUEST}/24\nGateway={GATEWAY}\nDNS={RESOLVER}\n"
            "IPv6AcceptRA=no\nLinkLocalAddressing=no\n"
        )

    def resolver(self) -> str:
        return f"nameserver {RESOLVER}\n"

    def create(self, name: str, base: Path, seed: Seed | None, disk_gb: int) -> None:
        folder = self.lab.hosts_dir / name
        layers = Layers(folder)
        if seed:
            (folder / "seed").mkdir(parents=True, exist_ok=True)
            if base.is_dir():
                (folder / "seed/seed.tar").write_bytes(seed.archive())
            else:
                write(folder / "seed/user-data", seed.cloud_config())
                write(folder / "seed/meta-data", f"instance-id: {name}\n")
        if layers.current.exists():
            return
        below = next((f"{layer}/disk.qcow2" for layer in layers.below()), None)
        with layers.making() as new:
            argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F"]
            if below:
                argv += ["qcow2", "-b", below, str(new / "disk.qcow2")]
            else:
                backing = Path(base / "disk.img" if base.is_dir() else base)
                found = check_disk(backing, disk_gb)
                argv += [found, "-b", str(backing), str(new / "disk.qcow2"), f"{disk_gb}G"]
            run("Create the host's disk", argv)

    def start(self, name: str, base: Path) -> None:
        self.stop(name)
        folder = self.lab.hosts_dir / name
        address = json.loads((folder / "host.json").read_text())["address"]
        own = image.Disk(base) if base.is_dir() else None
        argv = boot_command(
            disk=folder / "layer/disk.qcow2",
            seed=folder / "seed",
            kernel=own,
            forwards=[(address, port + self.net.offset, port) for port in FORWARDED],
            # A cloud image's kernel is on its own disk: another kernel probes KVM.
            accelerator=accelerator(own or image.disk(SYSTEMS["debian-12"], Progress())),
        )
        self.lab.start(f"host/{name}", argv)

    def is_running(self, name: str) -> bool:
        return bool(self.lab.processes(f"host/{name}"))

    def stop(self, name: str) -> None:
        self.lab.stop(f"host/{name}")

    def destroy(self, name: str) -> None:
        self.stop(name)
        remove(self.lab.hosts_dir / name)


def boot_command(
    disk: Path, seed: Path, kernel: image.Disk | None, forwards: list[tuple[str, int, int]], accelerator: str
) -> list[str]:
    """The command that boots `disk`: with `kernel`, or without one by its own boot loader.

    `forwards` are address and port of this machine, and the host's port. qemu's output is the serial console.
    """
    network = [f"hostfwd=tcp:{address}:{port}-:{to}" for address, port, to in forwards]
    argv = [
        *("qemu-system-x86_64", "-M", "q35", "-smp", str(_processors(accelerator)), "-m", str(MEMORY_MB)),
        *_processor(accelerator),
        *("-nodefaults", "-display", "none", "-serial", "stdio", "-monitor", "none"),
        # A guest's flush reaches this machine's disk: synced data survive a power cut.
        *("-drive", f"file={disk},format=qcow2,if=none,id=disk,cache=writeback,discard=unmap"),
        # The firmware must not boot from the seed disk.
        *("-device", "virtio-blk-pci,drive=disk" + ("" if kernel else ",bootindex=0")),
        *("-netdev", ",".join(["user,id=net", *network]), "-device", "virtio-net-pci,netdev=net"),
        # Without it a first boot waits for entropy.
        *("-device", "virtio-rng-pci"),
    ]
    if kernel:
        argv += ["-drive", f"file={seed}/seed.tar,format=raw,if=none,id=seed,readonly=on"]
        argv += ["-device", "virtio-blk-pci,drive=seed"]
        argv += ["-kernel", str(kernel.kernel), "-initrd", str(kernel.initrd)]
        # In emulation Linux distrusts the TSC, and reads a clock that is slow to emulate.
        clock = " tsc=reliable" if accelerator == "tcg" else ""
        argv += ["-append", f"root=/dev/vda rw console=ttyS0{clock}"]
    else:
        # cloud-init's NoCloud data source: a file system with this label.
        argv += ["-blockdev", f"driver=vvfat,node-name=seed,dir={seed},label=CIDATA,read-only=on"]
        argv += ["-device", "virtio-blk-pci,drive=seed"]
    return argv


def check_disk(backing: Path, disk_gb: int) -> str:
    """The format of a base disk. Raises StepFailed if it is no disk image or too large."""
    step = "Create the host's disk"
    found = json.loads(run(step, ["qemu-img", "info", "--output=json", str(backing)]))
    # qemu accepts any file as a raw disk.
    if found["format"] == "raw" and not _is_raw_disk(backing):
        raise StepFailed(step, f"{backing} is not a disk image; expected qcow2, or raw with a partition table or ext4")
    if found["virtual-size"] > disk_gb * 2**30:
        needed = -(-found["virtual-size"] // 2**30)
        raise StepFailed(
            step, f"found a disk of {disk_gb} GiB, need {needed} GiB for the system itself (--disk {needed})"
        )
    return str(found["format"])


def _is_raw_disk(file: Path) -> bool:
    """Whether it has a partition table (signature at the end of the first sector) or an ext4 file system."""
    with file.open("rb") as content:
        start = content.read(2048)
    return start[510:512] == b"\x55\xaa" or start[1080:1082] == b"\x53\xef"


def accelerator(kernel: image.Disk) -> str:
    """`kvm` if it can run a kernel on this machine, else `tcg`, software emulation. Cached."""
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    memory = cache_dir() / "accelerator.json"
    # Valid for this boot: another kernel or machine may differ.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if memory.exists() and (known := json.loads(memory.read_text()))["boot"] == boot:
        return str(known["accelerator"])
    found = "kvm" if runs_a_kernel("kvm", kernel) else "tcg"
    write(memory, json.dumps({"boot": boot, "accelerator": found}))
    return found


def runs_a_kernel(accelerator: str, kernel: image.Disk, seconds: float = KVM_TRY_SECONDS) -> bool:
    """Boot a kernel without a disk, up to the panic that ends qemu."""
    argv = [
        *("qemu-system-x86_64", "-M", "q35", "-m", "512", *_processor(accelerator), "-no-reboot"),
        *("-nodefaults", "-display", "none", "-serial", "stdio", "-monitor", "none"),
        *("-kernel", str(kernel.kernel), "-append", "console=ttyS0 panic=-1"),
    ]
    try:
        said = run("Try the accelerator", argv, timeout=seconds)
    except StepFailed:
        return False
    return "Linux version" in said and "Kernel panic" in said


def _processors(accelerator: str) -> int:
    # A single processor is emulated without atomic instructions: a plan takes two thirds of the time.
    return PROCESSORS if accelerator == "kvm" else 1


def _processor(accelerator: str) -> list[str]:
    """The best processor of the accelerator: MongoDB needs AVX. Page tables of five levels are slower to emulate."""
    return ["-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max,la57=off"]
