"""Throwaway hosts: up, status, stop, crash, down. Repeating an interrupted step completes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.lab import acme, convert, image, mirror, network, packages
from slipway.lab.backend import Backend
from slipway.lab.instance import Instance, cache_dir, python, wait_until, write
from slipway.lab.layers import Layers
from slipway.lab.nspawn import Nspawn, mounts_below, unmount_below
from slipway.lab.qemu import check_disk
from slipway.lab.record import DEFAULT_DISK_GB, Host, recorded_hosts
from slipway.lab.seed import Seed, host_keys, know
from slipway.lab.steps import Progress, StepFailed, remove, run
from slipway.project import PACKAGE
from slipway.systems import SYSTEMS

if TYPE_CHECKING:
    from slipway.site import Site
from slipway.lab.boot import BACKENDS, backend_of, base_of, booting, greets, is_open, ssh_answers, start_booting

DEFAULT_NAME = "codementee"
DEFAULT_SYSTEM = "debian-12"
# Maximum time of a shutdown, in which MongoDB flushes its data.
SHUTDOWN_SECONDS = 120


@dataclass(frozen=True)
class Kind:
    """The kind of new hosts: a system or a cloud image, on a backend ("auto": nspawn as root, else qemu)."""

    system: str = DEFAULT_SYSTEM
    image: Path | None = None
    backend: str = "auto"
    disk_gb: int = DEFAULT_DISK_GB

    @property
    def chosen_backend(self) -> str:
        """Raises StepFailed if the combination is not possible."""
        if self.image:
            if self.backend == "nspawn":
                raise StepFailed("Choose the backend", "--image is for virtual machines; expected --backend qemu")
            return "qemu"
        if self.backend == "auto":
            return "nspawn" if os.geteuid() == 0 else "qemu"
        if self.backend == "nspawn":
            packages.need_root()
        return self.backend


def up(names: Sequence[str], user: str = "root", kind: Kind | None = None, progress: Progress | None = None) -> None:
    """Start the named hosts and what they need: image, network, ACME server, package mirror.

    A new host is of `kind` and lets in `user` ("root", or "admin" with sudo); one that is there stays what it is.

    Raises StepFailed; the next `up` resumes, and `down` removes what exists by then.
    """
    lab, progress, kind, names = Instance(), progress or Progress(), kind or Kind(), list(names)
    check_names(names)
    packages.install(progress, packages.NEEDED | packages.NEEDED_BY[kind.chosen_backend])
    if kind.image:
        check_disk(kind.image, kind.disk_gb)
    with lab.locked():
        base = Path()
        if any(_recorded(lab, name) is None for name in names):
            with lab.marking("image"):
                base = _find_base(lab, kind, progress)
        with progress.step("Set up the network"):
            net = network.up(lab)
        with progress.step("Start the ACME server (Pebble) and its DNS"):
            knows_no_name = acme.up(lab, net)
        _serve_packages(lab, net, progress)
        for name in names:
            if _recorded(lab, name) is None:
                _new_host(lab, name, user, kind, base)
        # A copy shares its original's domain, which resolves to the original.
        new = [host for host in recorded_hosts(lab) if host.name in names and not host.copy_of]
        for domain, address in addresses(recorded_hosts(lab) if knows_no_name else new).items():
            acme.add_name(net, domain, address)
    for name in names:
        _up(lab, name, progress)


def check_names(names: Iterable[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", name):
            raise StepFailed("Name the host", f"found {name!r}, expected at most 15 of a-z, 0-9 and -")


def addresses(hosts: Iterable[Host]) -> dict[str, str]:
    """The host that each domain resolves to: its original, or a copy if the original is gone."""
    found: dict[str, str] = {}
    for host in sorted(hosts, key=lambda host: not host.copy_of):
        found |= dict.fromkeys(host.domains, host.address)
    return found


def _serve_packages(lab: Instance, net: network.Network, progress: Progress) -> None:
    """Serve MongoDB's packages if the official repository is unreachable, and disable unreachable Pythons; records
    the resulting settings."""
    memory = lab.state / "mirror.json"
    if not memory.exists():
        with progress.step("Check MongoDB's official repository"):
            official = mirror.official_reachable("7.0")
        settings: dict[str, str | bool] = {}
        with progress.step("Check the builds of other Pythons"):
            has_pythons = mirror.pythons_reachable()
        if not has_pythons:
            progress.say("Not reachable: the lab runs backends with the system's Python and ignores python_version")
            progress.say("(Debian 12 has 3.11; 3.13 comes with --os debian-13)")
            settings["python_version"] = ""
        if not official:
            progress.say("Not reachable: the lab serves a stand-in mirror with real, older packages")
            packages.install(progress, packages.NEEDED_BY_MIRROR)
            with lab.marking("mirror-build"):
                built = mirror.build(cache_dir(), progress.say)
            settings |= {
                "root": str(built.root),
                "mongodb_version": built.series,
                "mongodb_apt_url": f"http://{net.gateway}:{net.port('mirror')}/apt",
                "mongodb_key_url": f"http://{net.gateway}:{net.port('mirror')}/pgp/server-{built.series}.asc",
                "mongodb_key_fingerprint": built.fingerprint,
                "mongodb_tools": "mongodb-database-tools" in built.packages,
            }
        write(memory, json.dumps(settings))
    root = json.loads(memory.read_text()).get("root")
    if root and not lab.processes("mirror"):
        with progress.step("Serve the package mirror"):
            port = net.port("mirror")
            command = [python(), "-m", "slipway.lab.mirror", "serve", "--root", root, "--address", net.listen]
            lab.start("mirror", [*command, "--port", str(port)], env={"PYTHONPATH": str(PACKAGE.parent)})
            wait_until("Serve the package mirror", lambda: is_open(net.listen, port), 60, lambda: lab.log_end("mirror"))


def _up(lab: Instance, name: str, progress: Progress) -> None:
    with ExitStack() as held:
        with lab.locked():
            host = _recorded(lab, name)
            if host is None:
                raise StepFailed(f"Boot {name}", "it was removed meanwhile; run again: slipway lab up")
            held.enter_context(booting(lab, host))
            backend = backend_of(lab, host.backend)
            if backend.is_running(name) and ssh_answers(host):
                progress.say(f"{name} is up already")
                return
            furnished = lab.hosts_dir / name / "furnished"
            with progress.step(f"Create the disk of {name}") as note:
                backend.stop(name)
                base = base_of(lab, name)
                seed = None if furnished.exists() else _seed(lab, backend, host)
                backend.create(name, base, seed, host.disk_gb)
                if seed is None:
                    note("kept")
                furnished.touch()
            answers = start_booting(lab, host)
        answers(progress)


def _find_base(lab: Instance, kind: Kind, progress: Progress) -> Path:
    """The base of new hosts of a kind."""
    if kind.image:
        return kind.image.resolve()
    return backend_of(lab, kind.chosen_backend).find_base(SYSTEMS[kind.system], progress)


def _new_host(lab: Instance, name: str, user: str, kind: Kind, base: Path) -> Host:
    backend = backend_of(lab, kind.chosen_backend)
    number = free_number(lab)
    offset = network.of(lab).offset if backend.name == "qemu" else 0
    key, known_hosts = lab.state / "id_ed25519", lab.state / "known_hosts"
    if not key.exists():
        run("Make the ssh key", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slipway-lab", "-f", str(key)])
    host = Host(
        name=name,
        address=backend.address(number),
        ssh_port=22 + offset,
        user=user,
        key_file=str(key),
        known_hosts_file=str(known_hosts),
        backend=backend.name,
        system=kind.image.name if kind.image else kind.system,
        domain=f"{name}.test",
        state="stopped",
        disk_gb=kind.disk_gb,
        port_offset=offset,
    )
    folder = lab.hosts_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "base", str(base))
    record(lab, host)
    return host


def free_number(lab: Instance) -> int:
    taken = {host.number for host in recorded_hosts(lab)}
    return next(number for number in range(10, 255) if number not in taken)


def _seed(lab: Instance, backend: Backend, host: Host) -> Seed:
    """The files that make a system this host, with its ssh host keys."""
    keys = host_keys()
    public = [text for name, text in keys.items() if name.endswith(".pub")]
    for address in (host.address, str(network.of(lab).subnet6[host.number])):
        know(Path(host.known_hosts_file), address, host.ssh_port, public)
    return Seed(
        name=host.name,
        user=host.user,
        domains=tuple(host.domains),
        address=backend.inner_address(host.number),
        network=backend.network_file(host.number),
        resolver=backend.resolver(),
        public_key=Path(f"{host.key_file}.pub").read_text(),
        host_keys=keys,
        authority=acme.ca_file(lab).read_text(),
        sites_authority=acme.root_bundle(lab, network.of(lab)).read_text(),
        is_copy=bool(host.copy_of),
    )


def record(lab: Instance, host: Host) -> None:
    write(lab.hosts_dir / host.name / "host.json", json.dumps(asdict(host), indent=2))


def _recorded(lab: Instance, name: str) -> Host | None:
    return next((host for host in recorded_hosts(lab) if host.name == name), None)


def status(lab: Instance | None = None) -> list[Host]:
    """The hosts of this lab with their current state and snapshots, by name."""
    lab = lab or Instance()
    return [_current(lab, host) for host in recorded_hosts(lab)]


def _current(lab: Instance, host: Host) -> Host:
    """The host with its current state and snapshots."""
    return replace(host, state=_state(lab, host), snapshots=tuple(layers_of(lab, host.name).labels()))


def layers_of(lab: Instance, name: str) -> Layers:
    return Layers(lab.hosts_dir / name)


def _state(lab: Instance, host: Host) -> str:
    if backend_of(lab, host.backend).is_running(host.name):
        return "running" if greets(host) else "silent"
    return "stopped" if (lab.hosts_dir / host.name / "furnished").exists() else "broken"


def find(name: str | None = None) -> Host:
    """A host by name; without a name the only one, or the default one. Raises StepFailed.

    No other host is asked: its firewall and its fail2ban count a connection without a login.
    """
    lab = Instance()
    hosts = {host.name: host for host in recorded_hosts(lab)}
    if name is None and hosts:
        name = next(iter(hosts)) if len(hosts) == 1 else DEFAULT_NAME
    if name not in hosts:
        raise StepFailed(
            f"Find the host {name or ''}",
            f"there is no such host; existing: {', '.join(hosts) or 'none'} (slipway lab up)",
        )
    return _current(lab, hosts[name])


def connect(names: Sequence[str] = ()) -> None:
    """Let these containers reach each other, all of the lab's by default. Raises StepFailed for a virtual machine."""
    lab = Instance()
    hosts = [find(name) for name in names] or recorded_hosts(lab)
    if others := [host.name for host in hosts if host.backend != "nspawn"]:
        which = ", ".join(others)
        raise StepFailed(
            "Connect the hosts", f"found {which}, expected containers alone: slipway lab connect --name NAME"
        )
    Nspawn(lab).connect(host.name for host in hosts)


def crash(name: str | None) -> Host:
    """Cut the power of a host; `up` boots it again with its disk."""
    lab = Instance()
    with lab.locked():
        host = find(name)
        backend_of(lab, host.backend).stop(host.name)
    return host


def stop(name: str | None, progress: Progress | None = None) -> None:
    """Shut a host down by `systemctl poweroff`. Raises StepFailed if it does not end."""
    lab, progress = Instance(), progress or Progress()
    with lab.locked():
        host = find(name)
        backend = backend_of(lab, host.backend)
        with progress.step(f"Shut {host.name} down"):
            if backend.is_running(host.name):
                # The connection ends before the command returns.
                subprocess.run(
                    host.ssh_argv("systemctl poweroff"), check=False, stdin=subprocess.DEVNULL, capture_output=True
                )
                role = f"host/{host.name}"
                wait_until(
                    f"Shut {host.name} down (slipway lab crash --name {host.name} cuts its power)",
                    lambda: not lab.processes(role),
                    SHUTDOWN_SECONDS,
                    lambda: lab.log_end(role),
                )
            backend.stop(host.name)


def down(names: Iterable[str] = (), everything: bool = False, progress: Progress | None = None) -> None:
    """Remove hosts; with the last one, or with `everything`, also what else the lab created on this machine."""
    lab, progress = Instance(), progress or Progress()
    with lab.locked():
        present = {path.name for path in lab.hosts_dir.glob("*")}
        wanted = present if everything else set(names)
        for name in sorted(wanted - present):
            progress.say(f"There is no host {name}")
        for name in sorted(wanted & present):
            with progress.step(f"Remove {name}"):
                _forget_names(lab, name)
                convert.stop(lab, name)
                # Every backend: an `up` that was killed early has not recorded which one it used.
                for backend in BACKENDS if os.geteuid() == 0 else ("qemu",):
                    backend_of(lab, backend).destroy(name)
        if everything or not any(lab.hosts_dir.glob("*")):
            with progress.step("Remove the lab's processes, mounts, bridge and NAT rules"):
                lab.stop()
                image.clean()
                unmount_below(lab.state)
                network.down(lab)
                if mounts_below(lab.state):
                    raise StepFailed(
                        "Remove the lab's mounts", "still there", output="\n".join(mounts_below(lab.state))
                    )
                remove(lab.state)


def _forget_names(lab: Instance, name: str) -> None:
    host = _recorded(lab, name)
    if host and not host.copy_of and lab.processes("dns"):
        left = addresses(other for other in recorded_hosts(lab) if other.name != name)
        for domain in host.domains:
            if domain in left:
                acme.add_name(network.of(lab), domain, left[domain])
            else:
                acme.remove_name(network.of(lab), domain)


def site(host: Host, domain: str | None = None, address: str | None = None, lab: Instance | None = None) -> Site:
    """A host's site as a visitor sees it, by default at its own domain and first address."""
    from slipway.site import Site  # imports requests, which an inventory does not need

    return Site(domain or host.domain, address or host.address, str(trusted_roots(lab)), host.port_offset)


def trusted_roots(lab: Instance | None = None) -> Path:
    """A CA file for clients of the lab's sites."""
    lab = lab or Instance()
    return acme.root_bundle(lab, network.of(lab))
