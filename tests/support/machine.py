"""Shared by tests of a virtual machine: power cuts, boots, drifts of its kernel, and writers to its database."""

from __future__ import annotations

import re
import subprocess
import sys

from support.lab_host import PROJECT, LabHost

# Changes of a kernel at run time, and the operation that corrects each.
DRIFTS = {
    "swapoff /swapfile": "Enable the swap file",
    "sysctl -q vm.swappiness=60": "Load kernel parameters",
    "echo always > /sys/kernel/mm/transparent_hugepage/enabled": "Set transparent huge pages to 'never'",
    "systemctl disable -q --now systemd-timesyncd": "Start time synchronisation",
    "mount -o remount,exec /dev/shm": "Mount /dev/shm without exec",
    "auditctl -D > /dev/null": "Load the audit rules",
}

# Writes with the backend's driver and URL, and prints what MongoDB has acknowledged.
WRITER = """
import itertools, os, pymongo
numbers = pymongo.MongoClient(os.environ["MONGO_URL"]).get_default_database().numbers
for n in itertools.count():
    numbers.insert_one({"n": n})
    print(n, flush=True)
"""
READER = """
import os, pymongo
print(*(row["n"] for row in pymongo.MongoClient(os.environ["MONGO_URL"]).get_default_database().numbers.find()))
"""


def cut_off(machine: LabHost) -> None:
    """Cut the power, and boot again."""
    assert machine.slipway("lab", "crash", "--name", machine.name).returncode == 0
    done = machine.slipway("lab", "up", "--name", machine.name)
    assert done.returncode == 0, done.stderr


def boot_id(machine: LabHost) -> str:
    return machine.ssh("cat /proc/sys/kernel/random/boot_id", check=False)


def as_the_backend(program: str) -> str:
    """A command that runs a Python program with the backend's libraries and its URL of the database."""
    # Exported by the shell itself: everybody can read command lines.
    url = "MONGO_URL=$(cat /etc/codementee/credentials/MONGO_URL); export MONGO_URL"
    return f"{url}; /var/www/codementee/current/backend/.venv/bin/python -c '{program}'"


def cut_off_while_writing(machine: LabHost, writes: int = 200) -> set[int]:
    """Cut the power during writes to MongoDB, and boot again; returns the acknowledged writes."""
    command = [sys.executable, "-m", "slipway", "lab", "ssh", "--name", machine.name, "--", as_the_backend(WRITER)]
    writing = subprocess.Popen(
        command, cwd=PROJECT, env=machine.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writing.stdout
    for _ in range(writes):  # past its start-up
        assert writing.stdout.readline(), writing.communicate()[1]
    cut_off(machine)
    return {*range(writes), *map(int, re.findall(r"(\d+)\n", writing.communicate(timeout=60)[0]))}


def written(machine: LabHost) -> set[int]:
    """The writes that are in the database."""
    return set(map(int, machine.ssh(as_the_backend(READER)).split()))


def started(machine: LabHost, *units: str) -> list[int]:
    """When each unit became active, in microseconds since the boot; 0 for never."""
    shown = machine.ssh(f"systemctl show --property=ActiveEnterTimestampMonotonic --value {' '.join(units)}")
    return list(map(int, shown.split()))
