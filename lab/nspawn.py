"""The nspawn backend: a container with real systemd, in seconds, on a copy-on-write view of a system tree."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from slipway.lab import image, network
from slipway.lab.instance import MARK, Instance, wait_until
from slipway.lab.layers import Layers
from slipway.lab.seed import Seed, resolver
from slipway.lab.steps import Progress, StepFailed, remove, run
from slipway.systems import System

# Lock files that a killed nspawn leaves behind.
NSPAWN_RUN = Path("/run/systemd/nspawn")
# On a reboot nspawn exits with code 133. Every start creates a new port on the bridge; an isolated port reaches the
# gateway, not the other hosts, unless they are connected.
SUPERVISOR = """
port=$1; connected=$2; for cgroup in $3; do echo $$ > "$cgroup/cgroup.procs"; done; shift 3
while :; do
    "$@" & nspawn=$!
    [ -e "$connected" ] && isolated=off || isolated=on
    until bridge link set dev "$port" isolated $isolated 2>/dev/null; do
        kill -0 $nspawn 2>/dev/null || break
        sleep 0.02
    done
    code=0; wait $nspawn || code=$?
    [ $code = 133 ] || exit $code
done
"""


class Nspawn:
    """Implements `slipway.lab.backend.Backend`."""

    name = "nspawn"
    boot_seconds: float = 120
    boot_pause: float = 0.05

    def __init__(self, lab: Instance) -> None:
        self.lab = lab

    @property
    def net(self) -> network.Network:
        return network.of(self.lab)

    def find_base(self, system: System, progress: Progress) -> Path:
        return image.tree(system, progress)

    def address(self, number: int) -> str:
        return str(self.net.subnet[number])

    def inner_address(self, number: int) -> str:
        return self.address(number)

    def network_file(self, number: int) -> str:
        return (
            f"[Match]\nName=host0\n\n[Network]\nAddress={self.address(number)}/24\nGateway={self.net.gateway}\n"
            f"Address={self.net.subnet6[number]}/64\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"
        )

    def resolver(self) -> str:
        return resolver()

    def create(self, name: str, base: Path, seed: Seed | None, disk_gb: int) -> None:
        """`disk_gb` is ignored: containers use this machine's disk."""
        folder = self.lab.hosts_dir / name
        layers = Layers(folder)
        if not layers.current.exists():
            with layers.making() as new:
                for part in ("upper", "work"):
                    (new / part).mkdir()
        root = self._mount(name, base)
        if seed:
            step = "Configure the host"
            unpack = ["tar", "--extract", "--unlink-first", "--directory", str(root), "--file", "-"]
            run(step, unpack, input=seed.archive().decode())
            run(step, ["chroot", str(root), "sh", "-eu", image.FURNISH])

    def _mount(self, name: str, base: Path) -> Path:
        folder = self.lab.hosts_dir / name
        root = folder / "root"
        root.mkdir(exist_ok=True)
        if not is_mounted(root):
            layers = Layers(folder)
            lower = ":".join(map(str, [*(layer / "upper" for layer in layers.below()), base]))
            # Folders of a lower layer can be renamed, as on a disk.
            writable = f"upperdir={layers.current / 'upper'},workdir={layers.current / 'work'}"
            options = f"redirect_dir=on,lowerdir={lower},{writable}"
            run("Mount the host's disk", ["mount", "-t", "overlay", "slipway-lab", "-o", options, str(root)])
        return root

    def start(self, name: str, base: Path) -> None:
        role, machine = f"host/{name}", machine_name(self.lab, name)
        self.stop(name)
        boot = boot_command(self._mount(name, base), machine, self.lab.bridge, self.lab.mark(role)) + suppress_sync()
        cgroups = cgroups_of(machine)
        for cgroup in cgroups:
            cgroup.mkdir()
        arguments = [port_name(machine), str(self._connected(name)), " ".join(map(str, cgroups)), *boot]
        self.lab.start(role, ["sh", "-uc", SUPERVISOR, "slipway-lab-host", *arguments])

    def connect(self, names: Iterable[str]) -> None:
        """Let hosts reach each other, after a boot too."""
        network.connect(self.lab)
        for name in names:
            self._connected(name).touch()
            if self.is_running(name):
                port = port_name(machine_name(self.lab, name))
                run("Connect the hosts", ["bridge", "link", "set", "dev", port, "isolated", "off"])
        for host in self.lab.hosts_dir.iterdir():
            # An address may have been another host's before, of which an isolated one was not told.
            for init in self._inits(host.name):
                run("Connect the hosts", ["nsenter", "--target", init, "--net", "ip", "neigh", "flush", "all"])

    def _inits(self, name: str) -> list[str]:
        """The first process in a host, by its id outside."""
        nspawns = [pid for pid in self.lab.processes(f"host/{name}") if command(pid) == "systemd-nspawn"]
        return [init for pid in nspawns for init in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _connected(self, name: str) -> Path:
        """A file that exists if a host reaches others that have one."""
        return self.lab.hosts_dir / name / "connected"

    def is_running(self, name: str) -> bool:
        """Whether its nspawn is running."""
        return any(command(pid) == "systemd-nspawn" for pid in self.lab.processes(f"host/{name}"))

    def stop(self, name: str) -> None:
        """Kill it, and clean up after it, including its mount."""
        self.lab.stop(f"host/{name}")
        machine = machine_name(self.lab, name)
        port = Path("/sys/class/net") / port_name(machine)
        # The kernel would remove the port with the host's network namespace, which connections to other hosts that end
        # now may keep for minutes.
        if port.exists():
            subprocess.run(["ip", "link", "delete", port.name], check=False, capture_output=True)
        wait_until("Take the host off the bridge", lambda: not port.exists(), 60)
        wait_until("Take away the host's control groups", lambda: all(map(_removed, cgroups_of(machine))), 60)
        remove(NSPAWN_RUN / "propagate" / machine)
        root = self.lab.hosts_dir / name / "root"
        if is_mounted(root):
            (NSPAWN_RUN / "locks" / "inode-{0.st_dev}:{0.st_ino}".format(root.stat())).unlink(missing_ok=True)
            unmount_below(root)

    def destroy(self, name: str) -> None:
        """Stop the host and remove its disk."""
        self.stop(name)
        folder = self.lab.hosts_dir / name
        unmount_below(folder)
        remove(folder)


def cgroups_of(machine: str) -> list[Path]:
    """The cgroups of a host, one in each hierarchy that systemd uses.

    Without groups of their own two hosts would share one tree: where this machine's process 1 is not systemd, nspawn
    takes the group that it is started in, and a service of one host could not be told from its namesake on another.
    """
    top = Path("/sys/fs/cgroup")
    hierarchies = [top] if (top / "cgroup.procs").exists() else [top / "systemd", top / "unified"]
    return [hierarchy / f"slipway-lab-{machine}" for hierarchy in hierarchies if hierarchy.is_dir()]


def _removed(cgroup: Path) -> bool:
    """Remove a cgroup with its children, possible once their last process is gone."""
    folders = sorted((path for path in [cgroup, *cgroup.rglob("*")] if path.is_dir()), reverse=True)
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
    return not cgroup.exists()


def machine_name(lab: Instance, name: str) -> str:
    """A unique name for each host of each lab: nspawn names the port after it, cut at 12 characters."""
    digest = hashlib.sha256(lab.mark(name).encode()).hexdigest()[:4]
    return f"{name[:7].rstrip('-')}-{digest}"


def port_name(machine: str) -> str:
    """The name of the host's port on the bridge."""
    return f"vb-{machine}"


def boot_command(root: Path, machine: str, bridge: str, mark: str) -> list[str]:
    """The command that boots `root` in its own network namespace on `bridge`."""
    return [
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={machine}"),
        f"--network-bridge={bridge}",
        # The host outlives a killed nspawn: its process 1 needs the mark too, to be found and stopped.
        f"--setenv={MARK}={mark}",
        # mongod locks memory that holds passwords, and exits if that fails. nspawn allows it only with CAP_IPC_LOCK;
        # other hosts allow it up to a limit.
        "--system-call-filter=@memlock",
        # No registration with systemd-machined, which is missing if systemd is not process 1.
        *("--keep-unit", "--register=no", "--link-journal=no"),
        *("--resolv-conf=off", "--timezone=off", "--console=pipe"),
    ]


@functools.cache
def suppress_sync() -> list[str]:
    """The option that makes fsync return at once: dpkg and mongod mostly wait for it, and a container loses nothing by
    it, as its files are in this machine's memory also after `lab crash`. systemd has it since version 250."""
    option = "--suppress-sync"
    return [f"{option}=yes"] if option in run("Ask for nspawn's options", ["systemd-nspawn", "--help"]) else []


def command(pid: int) -> str:
    """The name of a process's program; "" if it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def mounts_below(folder: Path) -> list[str]:
    """Mount points at or below `folder`, deepest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), reverse=True)


def is_mounted(root: Path) -> bool:
    return str(root) in mounts_below(root)


def unmount_below(folder: Path) -> None:
    """Unmount everything below `folder`; a container that was just killed may keep its root busy for a moment."""
    deadline = time.monotonic() + 10
    while points := mounts_below(folder):
        for point in points:
            try:
                run("Unmount the host's disk", ["umount", point])
            except StepFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
