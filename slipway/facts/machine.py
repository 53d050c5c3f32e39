"""The machine: its system, memory, disks, addresses, and the processes that listen on its ports."""

from __future__ import annotations

from slipway.facts.base import Fact, key_values


class Machine(Fact[dict[str, str]]):
    """What preflight and the tasks need to know about the machine, collected by one command.

    uid, os (ID of os-release), release (VERSION_ID), codename, arch (dpkg's name), container ("none" or its type),
    kernel (its version, "6.1.0-37-amd64"), python (the version of python3, "" without it), glibc ("2.36"), memory_mb,
    root (the type of file system of /, "" if a swap file is on), avx (yes/no), clock (seconds since the epoch),
    addresses (space separated, global ones),
    and for each of `DISK_FOLDERS` disk:FOLDER: its (future) mount point and the MiB and inodes free there
    ("/var 900 65000"), without the inodes of file systems that make them as needed.
    """

    DISK_FOLDERS = ("/", "/usr", "/var/lib", "/var/cache", "/var/www")

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self) -> str:
        return (
            ". /etc/os-release;"
            " echo uid=$(id -u); echo os=$ID; echo release=$VERSION_ID; echo codename=$VERSION_CODENAME;"
            " echo arch=$(dpkg --print-architecture 2>/dev/null || uname -m);"
            # systemd's record of it is cheaper than detecting it again.
            " read -r container 2>/dev/null < /run/systemd/container"
            " || container=$(systemd-detect-virt --container 2>/dev/null); echo container=$container;"
            " read -r init < /proc/1/comm; echo init=$init;"
            # The shell's own means: each further process takes a millisecond.
            " read -r kernel < /proc/sys/kernel/osrelease; echo kernel=$kernel;"
            " python=$(/usr/bin/python3 -V 2>/dev/null); echo python=${python#* };"
            " glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null); echo glibc=${glibc#* };"
            " read -r _ kilobytes _ < /proc/meminfo; echo memory_mb=$((kilobytes / 1024));"
            " root=; grep -q '^/swapfile ' /proc/swaps 2>/dev/null || root=$(stat -f -c %T /); echo root=$root;"
            " if grep -qw avx /proc/cpuinfo; then echo avx=yes; else echo avx=no; fi;"
            " echo clock=$(date +%s);"
            " echo addresses=$(ip -o addr show scope global 2>/dev/null"
            ' | awk \'{split($4, a, "/"); printf "%s ", a[1]}\');'
            f" set --; for folder in {' '.join(self.DISK_FOLDERS)}; do"
            ' [ -d $folder ] || folder=${folder%/*}; set -- "$@" $folder; done;'
            ' df -m --output=target,avail,iavail,itotal "$@"'
        )

    def process(self, output: list[str]) -> dict[str, str]:
        lines = (line.split() for line in output[-len(self.DISK_FOLDERS) :])
        # Btrfs says 0 of 0, vfat "-".
        disks = [" ".join(words[: 3 if words[-1].strip("0-") else 2]) for words in lines]
        return key_values(output) | {f"disk:{name}": disk for name, disk in zip(self.DISK_FOLDERS, disks, strict=True)}


class Clock(Fact[float]):
    """The clock, in seconds since the epoch; 0 if it does not say. `asked` makes each question a new one."""

    may_be_remembered = False

    @staticmethod
    def default() -> float:
        return 0

    def command(self, asked: float) -> str:
        return f": {asked}; date +%s.%N"

    def process(self, output: list[str]) -> float:
        return float(output[0])


class Listeners(Fact[dict[int, str]]):
    """Process names by the TCP port they listen on, "a, b" if several do at different addresses; "" if the name is not
    visible."""

    @staticmethod
    def default() -> dict[int, str]:
        return {}

    def command(self) -> str:
        return "ss -Hltnp 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[int, str]:
        listeners: dict[int, set[str]] = {}
        for line in output:
            fields = line.split()
            name = line.partition('(("')[2].partition('"')[0]
            listeners.setdefault(int(fields[3].rpartition(":")[2]), set()).add(name)
        return {port: ", ".join(sorted(names)) for port, names in listeners.items()}


def is_container(machine: dict[str, str]) -> bool:
    """Whether the host shares a kernel that it can't configure (nspawn, LXC, OpenVZ)."""
    return machine.get("container", "none") not in ("none", "")
