"""What only a kernel of its own shows, on a virtual machine made of a server that was provisioned in a container.

The everyday part of tests/e2e/test_machine.py, which provisions a virtual machine from nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from slipway.lab import hosts, snapshots
from support import typed
from support.lab_host import LABEL, ORIGINAL, LabHost
from support.machine import (
    boot_id,
    cut_off_while_writing,
    started,
    written,
)

# What a container can't be given: its kernel is another's.
KERNELS_OWN = {
    "Mount /dev/shm without exec",
    "Create a swap file of 1024 MiB",
    "Add the swap file to /etc/fstab",
    "Enable the swap file",
    "Disable UFW's kernel parameters",
    "Set kernel parameters",
    "Load kernel parameters",
    "Configure the service that sets transparent huge pages to 'never'",
    "Enable the transparent huge pages service",
    "Set transparent huge pages to 'never'",
    "Configure the audit rules",
    "Load the audit rules",
}
NAME = "kernel"
# setpriority(2)
FIRST = -10
# What a container is not given: its host's kernel keeps the time and the audit.
PACKAGES = ("auditd", "systemd-timesyncd")
# The settings that follow from a host's memory where they are not given, and a command for what they came to.
BY_MEMORY = {
    "mongodb_cache_gb": r"grep -oP 'cacheSizeGB: \K.*' /etc/mongod.conf",
    "mongodb_memory_max_mb": r"grep -oP '^MemoryMax=\K\d+' /etc/systemd/system/mongod.service.d/slipway.conf",
    "backend_memory_max_mb": r"grep -oP '^MemoryMax=\K\d+' /etc/systemd/system/codementee-backend.service",
}


def prefer(niceness: int) -> None:
    """Give what starts from here on the priority of a niceness, where a capability allows it."""
    for process in (os.getpid(), typed.process()):
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, process, niceness)


@pytest.fixture(scope="module")
def machine(original: dict[str, str]) -> Iterator[LabHost]:
    """The same as a virtual machine, shared: its first test makes it converge."""
    # This module takes longest, for its emulated processor, which gets its priority from what starts it.
    prefer(FIRST)
    # Installed natively: apt takes a minute in software emulation.
    snapshots.copy(LABEL, hosts.find(ORIGINAL), [NAME], backend="qemu", extra_packages=PACKAGES)
    hosts.up([NAME])
    host = LabHost(NAME)
    host.wait_until_healthy()
    yield host
    host.remove()
    prefer(0)


@pytest.fixture(scope="module")
def as_before(machine: LabHost) -> list[str]:
    """Arguments that leave what follows from the memory as it is: the container had another."""
    found = machine.ssh("; ".join(BY_MEMORY.values())).split()
    return [word for name, value in zip(BY_MEMORY, found, strict=True) for word in ("--data", f"{name}={value}")]


def planned(apply: subprocess.CompletedProcess[str]) -> set[str]:
    """The operations of the plan that an apply shows before it acts: another plan first would take as long again."""
    return set(re.findall(r"^    [~↻] (.+)$", apply.stdout, re.MULTILINE))


def test_a_plan_finds_what_a_kernel_decides_and_nothing_else_and_one_apply_makes_it_so(
    machine: LabHost, as_before: list[str]
) -> None:
    assert planned(machine.apply(*as_before)) == KERNELS_OWN


def test_after_a_power_cut_no_acknowledged_write_is_lost_and_all_is_in_force_and_in_order(
    machine: LabHost, say: Callable[[str], None]
) -> None:
    before = boot_id(machine)
    acknowledged = cut_off_while_writing(machine)
    began = time.monotonic()
    machine.wait_until_healthy()
    say(f"healthy {time.monotonic() - began:.0f} s after ssh answers")
    assert boot_id(machine) not in ("", before), "the power was not cut: the test has nothing to observe"
    found = written(machine)
    say(f"{len(acknowledged)} writes were acknowledged before the power cut, {len(found)} are there")
    assert acknowledged <= found
    mongod, backend, nginx = started(machine, "mongod.service", "codementee-backend.service", "nginx.service")
    assert 0 < mongod < backend
    assert nginx > 0
    # test_machine.py runs all of `slipway verify`, and a plan.
    shown = machine.ssh(
        "swapon --noheadings --show=NAME; sysctl -n vm.swappiness; cat /sys/kernel/mm/transparent_hugepage/enabled;"
        " timedatectl show --property=NTP --value; auditctl -l | wc -l"
    )
    swap, swappiness, huge_pages, ntp, rules = shown.splitlines()
    assert (swap, swappiness, ntp) == ("/swapfile", "1", "yes")
    assert "[never]" in huge_pages
    assert int(rules) > 5
