"""Converts a container's snapshot to the disk of a virtual machine: the same files, with the distribution's kernel.

Provisioning takes many minutes in software emulation, one minute in a container. A converted server boots with its own
kernel, and only kernel-dependent settings remain to be applied.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from slipway.lab import image
from slipway.lab.instance import Instance, folder_lock
from slipway.lab.steps import Progress, remove, run
from slipway.systems import System

# Keeps packages from starting their services.
# https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
POLICY = "usr/sbin/policy-rc.d"


def machine(
    lab: Instance,
    layers: Sequence[Path],
    base: Path,
    system: System,
    disk_gb: int,
    progress: Progress,
    extra_packages: Sequence[str] = (),
) -> Path:
    """The folder with the disk (image.Disk) of a container's snapshot: `layers`, the nearest first, on the tree `base`.
    It is built once, stored with the snapshot and removed with it."""
    snapshot = layers[0].resolve()
    result, new = snapshot / "machine", snapshot / "machine.new"
    with folder_lock(snapshot):
        if result.exists():
            return result
        with progress.step(f"Make a virtual machine's disk of the snapshot {snapshot.name}"):
            role = _role(_host(snapshot))
            # A killed run may have left a command that is still running.
            lab.stop(role)
            remove(new)
            new.mkdir()
            lower = [*(layer.resolve() / "upper" for layer in layers), base]
            with lab.marking(role):
                # In its own mount namespace, which unmounts everything when it is killed.
                argv = [*image.as_root(), "sh", "-euc", script(new, lower, system, disk_gb, extra_packages)]
                run("Make the disk of the snapshot", argv, cwd=new, env=image.NO_INITRD)
            new.rename(result)
    return result


def stop(lab: Instance, name: str) -> None:
    """Stop running conversions of this host's snapshots."""
    lab.stop(_role(name))


def _host(snapshot: Path) -> str:
    return snapshot.parents[1].name


def _role(name: str) -> str:
    return f"convert/{name}"


def script(
    folder: Path, lower: Sequence[Path], system: System, disk_gb: int, extra_packages: Sequence[str] = ()
) -> str:
    """The shell script that builds the disk in `folder`, which then contains only the disk and its kernel."""
    layers = f"lowerdir={':'.join(map(str, lower))},upperdir={folder}/upper,workdir={folder}/work"
    return f"""
        export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive
        mkdir upper work root
        # volatile: no sync is needed, an interrupted build is discarded.
        mount -t overlay slipway-lab -o {shlex.quote(f"volatile,{layers}")} root
        mount -t proc proc root/proc
        [ ! -e root/{POLICY} ] || mv root/{POLICY} policy
        printf '#!/bin/sh\\nexit 101\\n' > root/{POLICY}; chmod 755 root/{POLICY}
        chroot root sh -euc {shlex.quote(_install([*image.machine_packages(system), *extra_packages]))}
        rm root/{POLICY}
        [ ! -e policy ] || mv policy root/{POLICY}
        umount root/proc
        {image.disk_script("root", disk_gb * 1024)}
        umount root
        rm -rf upper work root
    """


def _install(packages: Sequence[str]) -> str:
    """The script that makes the tree it runs in bootable."""
    install = f"apt-get install -y -q --no-install-recommends {' '.join(packages)}"
    return f"""
        # The package lists are as old as the snapshot.
        {install} || {{ apt-get update -q; {install}; }}
        # apt's index of the lists stays: building it in emulation is slow.
        rm -f /var/cache/apt/archives/*.deb
        {image.SETUP_VM}
    """
