"""The nspawn backend: a container with real systemd, in seconds, on a copy-on-write view of a system tree."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path

from lab.instance import MARK, Instance, wait_until
from lab.steps import StepFailed, remove, run

# What nspawn keeps beside its containers, and leaves behind when it is killed.
NSPAWN_RUN = Path("/run/systemd/nspawn")
# A host that reboots ends nspawn with code 133, "start me again". Every start makes a new port on the bridge; a port
# that is isolated reaches the gateway and the world, not the other hosts.
SUPERVISOR = """
port=$1; for cgroup in $2; do echo $$ > "$cgroup/cgroup.procs"; done; shift 2
while :; do
    "$@" & nspawn=$!
    until bridge link set dev "$port" isolated on 2>/dev/null; do
        kill -0 $nspawn 2>/dev/null || break
        sleep 0.02
    done
    code=0; wait $nspawn || code=$?
    [ $code = 133 ] || exit $code
done
"""


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
        role, machine = f"host/{name}", machine_name(self.lab, name)
        root = self.lab.hosts_dir / name / "root"
        self.stop(name)
        boot = boot_command(root, machine, self.lab.bridge, self.lab.mark(role))
        cgroups = cgroups_of(machine)
        for cgroup in cgroups:
            cgroup.mkdir()
        arguments = [port_name(machine), " ".join(map(str, cgroups)), *boot]
        self.lab.start(role, ["sh", "-uc", SUPERVISOR, "slipway-lab-host", *arguments])

    def is_running(self, name: str) -> bool:
        """Whether its nspawn is there: what is left of a host without it is not a host."""
        return any(command(pid) == "systemd-nspawn" for pid in self.lab.processes(f"host/{name}"))

    def stop(self, name: str) -> None:
        """Cut the power, and take away what a killed nspawn leaves behind."""
        self.lab.stop(f"host/{name}")
        machine = machine_name(self.lab, name)
        port = Path("/sys/class/net") / port_name(machine)
        # The kernel takes the port away some moments after the last process in the host's network.
        wait_until("Take the host off the bridge", lambda: not port.exists(), 15)
        wait_until("Take away the host's control groups", lambda: all(map(_removed, cgroups_of(machine))), 15)
        remove(NSPAWN_RUN / "propagate" / machine)
        root = self.lab.hosts_dir / name / "root"
        if is_mounted(root):
            (NSPAWN_RUN / "locks" / "inode-{0.st_dev}:{0.st_ino}".format(root.stat())).unlink(missing_ok=True)

    def destroy(self, name: str) -> None:
        """End the host and remove its disk."""
        self.stop(name)
        folder = self.lab.hosts_dir / name
        unmount_below(folder)
        remove(folder)


def cgroups_of(machine: str) -> list[Path]:
    """The control groups of a host, one in each hierarchy that systemd uses.

    Without groups of their own two hosts would share one tree: where this machine's process 1 is not systemd, nspawn
    takes the group that it is started in, and a service of one host could not be told from its namesake on another.
    """
    top = Path("/sys/fs/cgroup")
    hierarchies = [top] if (top / "cgroup.procs").exists() else [top / "systemd", top / "unified"]
    return [hierarchy / f"slipway-lab-{machine}" for hierarchy in hierarchies if hierarchy.is_dir()]


def _removed(cgroup: Path) -> bool:
    """Remove a control group with those in it, which is possible once their last process is gone."""
    folders = sorted((path for path in [cgroup, *cgroup.rglob("*")] if path.is_dir()), reverse=True)
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
    return not cgroup.exists()


def machine_name(lab: Instance, name: str) -> str:
    """A name of its own for each host of each lab: nspawn names the port after it, and cuts at 12 characters."""
    digest = hashlib.sha256(lab.mark(name).encode()).hexdigest()[:4]
    return f"{name[:7].rstrip('-')}-{digest}"


def port_name(machine: str) -> str:
    """The host's port on the bridge, as nspawn names it."""
    return f"vb-{machine}"


def boot_command(root: Path, machine: str, bridge: str, mark: str) -> list[str]:
    """The command that boots `root` with its own network namespace on `bridge`."""
    return [
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={machine}"),
        f"--network-bridge={bridge}",
        # The host outlives a killed nspawn: its process 1 needs the mark too, to be found and ended.
        f"--setenv={MARK}={mark}",
        # No registration with systemd-machined: it is not there where systemd is not process 1.
        *("--keep-unit", "--register=no", "--link-journal=no"),
        *("--resolv-conf=off", "--timezone=off", "--console=pipe"),
    ]


def command(pid: int) -> str:
    """The name of a process's program; "" when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


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
