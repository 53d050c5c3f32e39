"""Snapshots of hosts: take, restore, copy. Repeating an interrupted step completes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from slipway.lab import convert, packages
from slipway.lab.boot import backend_of, base_of, booting, start_booting
from slipway.lab.hosts import check_names, find, free_number, layers_of, record
from slipway.lab.instance import Instance, write
from slipway.lab.layers import Layers
from slipway.lab.record import Host, recorded_hosts
from slipway.lab.steps import Progress, StepFailed
from slipway.systems import SYSTEMS


def take(label: str, name: str | None = None, progress: Progress | None = None) -> None:
    """Take a snapshot of a stopped host's disk. Raises StepFailed if the host is running."""
    lab, progress = Instance(), progress or Progress()
    with lab.locked():
        host = find(name)
        step = f"Take the snapshot {label} of {host.name}"
        with progress.step(step):
            backend = backend_of(lab, host.backend)
            if backend.is_running(host.name):
                raise StepFailed(step, f"it is running; type: slipway lab stop --name {host.name}")
            backend.stop(host.name)
            base = base_of(lab, host.name)
            layers_of(lab, host.name).snapshot(label)
            backend.create(host.name, base, None, host.disk_gb)


def copy(
    label: str,
    original: Host,
    names: Sequence[str],
    backend: str = "auto",
    progress: Progress | None = None,
    extra_packages: Sequence[str] = (),
) -> None:
    """Create hosts from the snapshot `label` of the container `original`; `up` boots them.

    They are containers too, or with the backend "qemu" virtual machines, with the same files, the distribution's
    kernel and `extra_packages`. Each has its own name, addresses and ssh host keys, and the original's domain and
    secrets, so that certificates and credentials stay valid. They need the original's disk: remove it last.

    Raises StepFailed. An existing copy is kept.
    """
    lab, progress = Instance(), progress or Progress()
    step, layers = f"Copy {original.name}:{label}", layers_of(lab, original.name)
    check_names(names)
    if original.backend != "nspawn":
        raise StepFailed(step, f"{original.name} is a virtual machine; only a container can be copied")
    layers.check(label, step)
    backend = original.backend if backend == "auto" else backend
    with lab.locked():
        new = _not_yet_copied(lab, step, original, label, backend, names)
        base = base_of(lab, original.name)
    if new and backend == "qemu":
        packages.install(progress, packages.NEEDED_BY["qemu"])
        # Slow, so without the lab's lock.
        system = SYSTEMS[original.system]
        base = convert.machine(lab, layers.chain(label), base, system, original.disk_gb, progress, extra_packages)
    with lab.locked():
        for name in _not_yet_copied(lab, step, original, label, backend, names):
            folder = lab.hosts_dir / name
            folder.mkdir(parents=True, exist_ok=True)
            if backend == original.backend:
                Layers(folder).stand_on(label, layers)
            write(folder / "base", str(base))
            host = replace(
                original,
                name=name,
                address=backend_of(lab, backend).address(free_number(lab)),
                backend=backend,
                state="stopped",
                snapshots=(),
                copy_of=f"{original.name}:{label}",
            )
            record(lab, host)


def _not_yet_copied(
    lab: Instance, step: str, original: Host, label: str, backend: str, names: Iterable[str]
) -> list[str]:
    """The unused names. Raises StepFailed if a host with such a name is not such a copy."""
    there, new = {host.name: host for host in recorded_hosts(lab)}, []
    for name in names:
        host = there.get(name)
        if host is None:
            new.append(name)
        elif (host.copy_of, host.backend) != (f"{original.name}:{label}", backend):
            why = f"the name {name} is taken: choose another, or remove that host: slipway lab down --name {name}"
            raise StepFailed(step, why)
    return new


def source(text: str) -> tuple[Host, str]:
    """The host and the label in HOST:LABEL. Raises StepFailed."""
    name, _, label = text.partition(":")
    if not name or not label:
        raise StepFailed("Copy a host", f"found --from {text}, expected HOST:LABEL (slipway lab status shows them)")
    return find(name), label


def restore(label: str, name: str | None = None, progress: Progress | None = None) -> None:
    """Restore a snapshot of a host's disk and boot it. The power of a running host is cut."""
    lab, progress = Instance(), progress or Progress()
    with ExitStack() as held:
        with lab.locked():
            host = find(name)
            held.enter_context(booting(lab, host))
            backend = backend_of(lab, host.backend)
            with progress.step(f"Restore the snapshot {label} of {host.name}"):
                base, layers = base_of(lab, host.name), layers_of(lab, host.name)
                layers.check(label, f"Restore the snapshot {label}")
                backend.stop(host.name)
                layers.restore(label)
                backend.create(host.name, base, None, host.disk_gb)
            answers = start_booting(lab, host)
        answers(progress)
