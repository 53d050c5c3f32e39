"""Throwaway hosts: up, status, down. Each step may have been interrupted before; doing it again completes it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab import acme, image, mirror, network, packages
from lab.backend import Backend
from lab.instance import Instance, cache_dir, python, wait_until, write
from lab.nspawn import Nspawn, mounts_below, unmount_below
from lab.steps import Progress, StepFailed, remove, run

DEFAULT_NAME = "codementee"
MIRROR_PORT = 8090
BACKENDS = {"nspawn": Nspawn}
SSH_SECONDS = 30


@dataclass(frozen=True)
class Host:
    """A throwaway host as `lab status --json` shows it."""

    name: str
    address: str
    ssh_port: int
    user: str
    key_file: str
    known_hosts_file: str
    backend: str
    system: str
    domain: str
    state: str  # running: ssh answers; stopped: `up` boots it; broken: neither

    @property
    def domains(self) -> list[str]:
        """The names that the lab's DNS knows it by."""
        return [self.domain, f"www.{self.domain}"]

    def ssh_argv(self, *command: str) -> list[str]:
        """The ssh command to the host, with its key and with its host key checked."""
        return [
            *("ssh", "-F", "none", "-i", self.key_file, "-p", str(self.ssh_port)),
            *("-o", f"UserKnownHostsFile={self.known_hosts_file}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", f"{self.user}@{self.address}", *command),
        ]


def _backend(lab: Instance, name: str) -> Backend:
    return BACKENDS[name](lab)


def _gateway(lab: Instance) -> str:
    subnet = json.loads((lab.state / "network.json").read_text())["subnet"]
    return str(subnet).removesuffix(".0/24") + ".1"


def up(
    names: Iterable[str],
    user: str | None = None,
    system: str = "debian-12",
    backend: str = "nspawn",
    progress: Progress | None = None,
) -> None:
    """Bring up the named hosts and what they need: image, network, ACME server, package mirror.

    A new host is made of `system` (image.IMAGES) on `backend` (BACKENDS); one that is there stays what it is. `user`
    logs in ("root" or "admin", who uses sudo); None leaves it as it is, root for a new host.

    Raises StepFailed; what was done by then is taken over by the next `up` or removed by `down`.
    """
    lab, progress = Instance(), progress or Progress()
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", name):
            raise StepFailed("Name the host", f"found {name!r}, expected at most 15 of a-z, 0-9 and -")
    packages.install(progress)
    with lab.locked():
        with lab.marking("image"):
            tree = image.ensure(image.IMAGES[system], progress)
        with progress.step("Set up the bridge and NAT"):
            network.up(lab)
        gateway = _gateway(lab)
        with progress.step("Start the ACME server (Pebble) and its DNS"):
            acme.up(lab, gateway)
        _serve_packages(lab, gateway, progress)
        for name in names:
            _up(lab, _recorded(lab, name) or _new_host(lab, name, system, backend), user, tree, progress)
        for host in _recorded_hosts(lab):  # all of them: the DNS may have been started anew
            for domain in host.domains:
                acme.add_name(gateway, domain, host.address)


def _serve_packages(lab: Instance, gateway: str, progress: Progress) -> None:
    """Serve MongoDB's packages where the official repository is out of reach; remember which it is."""
    memory = lab.state / "mirror.json"
    if not memory.exists():
        with progress.step("Ask for MongoDB's official repository"):
            official = mirror.official_reachable("7.0")
        settings = {}
        if not official:
            progress.say("It is out of reach: the lab serves a stand-in mirror with real, older packages")
            packages.install(progress, packages.NEEDED_BY_MIRROR)
            with lab.marking("mirror-build"):
                built = mirror.build(cache_dir(), progress.say)
            settings = {
                "root": str(built.root),
                "mongodb_version": built.series,
                "mongodb_apt_url": f"http://{gateway}:{MIRROR_PORT}/apt",
                "mongodb_key_url": f"http://{gateway}:{MIRROR_PORT}/pgp/server-{built.series}.asc",
                "mongodb_key_fingerprint": built.fingerprint,
                "mongodb_tools": "mongodb-database-tools" in built.packages,
            }
        write(memory, json.dumps(settings))
    root = json.loads(memory.read_text()).get("root")
    if root and not lab.processes("mirror"):
        with progress.step("Serve the package mirror"):
            command = [python(), "-m", "lab.mirror", "serve", "--root", root, "--address", gateway]
            lab.start("mirror", [*command, "--port", str(MIRROR_PORT)], env={"PYTHONPATH": str(PROJECT)})
            wait_until(
                "Serve the package mirror", lambda: _open(gateway, MIRROR_PORT), 10, lambda: lab.log_end("mirror")
            )


PROJECT = Path(__file__).resolve().parent.parent


def _up(lab: Instance, host: Host, user: str | None, tree: Path, progress: Progress) -> None:
    name, backend = host.name, _backend(lab, host.backend)
    if user and user != host.user:
        host = replace(host, user=user)
        _record(lab, host)
    if backend.is_running(name) and _ssh_answers(host):
        progress.say(f"{name} is up already")
        return
    furnished = lab.hosts_dir / name / "furnished"
    with progress.step(f"Make the disk of {name}") as note:
        backend.stop(name)
        root = backend.create(name, _tree_of(lab, name, tree))
        if furnished.exists():
            note("kept")
        else:
            _furnish(lab, root, host)
            furnished.touch()
    with progress.step(f"Boot {name} until ssh answers"):
        backend.start(name)
        role = f"host/{name}"
        wait_until("Wait for ssh", lambda: _ssh_answers(host), SSH_SECONDS, lambda: lab.log_end(role))


def _tree_of(lab: Instance, name: str, tree: Path) -> Path:
    """The tree that the host was made from: its disk is a change to that one and no other."""
    record = lab.hosts_dir / name / "tree"
    if not record.exists():
        write(record, str(tree))
    its_own = Path(record.read_text())
    if not its_own.is_dir():
        raise StepFailed(
            f"Make the disk of {name}", f"{its_own}, which it was made from, is gone: slipway lab down --name {name}"
        )
    return its_own


def _new_host(lab: Instance, name: str, system: str, backend: str) -> Host:
    taken = {host.address for host in _recorded_hosts(lab)}
    network_part = _gateway(lab).removesuffix(".1")
    address = next(a for n in range(10, 255) if (a := f"{network_part}.{n}") not in taken)
    key, known_hosts = lab.state / "id_ed25519", lab.state / "known_hosts"
    if not key.exists():
        run("Make the ssh key", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slipway-lab", "-f", str(key)])
    host = Host(
        name=name,
        address=address,
        ssh_port=22,
        user="root",
        key_file=str(key),
        known_hosts_file=str(known_hosts),
        backend=backend,
        system=system,
        domain=f"{name}.test",
        state="stopped",
    )
    folder = lab.hosts_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "secrets.env", f"JWT_SECRET={secrets.token_hex(24)}\nADMIN_PASSWORD={secrets.token_urlsafe(18)}\n")
    _record(lab, host)
    return host


def _furnish(lab: Instance, root: Path, host: Host) -> None:
    """What a provider's first boot does: name, addresses, keys, and here the trust in the lab's ACME server."""
    (root / "etc/hostname").write_text(f"{host.name}\n")
    (root / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n::1 localhost\n{host.address} {' '.join(host.domains)} {host.name}\n"
    )
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(resolver())
    (root / "etc/systemd/network/10-host0.network").write_text(
        f"[Match]\nName=host0\n\n[Network]\nAddress={host.address}/24\nGateway={_gateway(lab)}\nLinkLocalAddressing=no\n"
    )
    public = Path(f"{host.key_file}.pub").read_text()
    for home in ("root", "home/admin"):
        keys = root / home / ".ssh/authorized_keys"
        keys.write_text(public)
        owner = keys.parent.stat()
        shutil.chown(keys, owner.st_uid, owner.st_gid)
        keys.chmod(0o600)
    run("Make the host keys", ["ssh-keygen", "-A", "-f", str(root)])
    known_hosts = Path(host.known_hosts_file)
    before = known_hosts.read_text() if known_hosts.exists() else ""
    public_keys = [path.read_text() for path in sorted((root / "etc/ssh").glob("ssh_host_*_key.pub"))]
    write(known_hosts, known_hosts_with(before, host.address, public_keys))
    (root / "usr/local/share/ca-certificates/slipway-lab.crt").write_text(acme.ca_file(lab).read_text())
    run("Trust the lab's ACME server", ["chroot", str(root), "update-ca-certificates"])


def known_hosts_with(text: str, address: str, public_keys: Iterable[str]) -> str:
    """The known_hosts file `text` with these keys, and no others, for `address`."""
    kept = [line for line in text.splitlines() if line.split()[0] != address]
    added = [f"{address} {' '.join(key.split()[:2])}" for key in public_keys]
    return "".join(f"{line}\n" for line in [*kept, *added])


def resolver() -> str:
    """This machine's resolver as a host can use it: a stub on loopback stands for the one behind it."""
    text = Path("/etc/resolv.conf").read_text()
    behind = Path("/run/systemd/resolve/resolv.conf")
    if "nameserver 127.0.0.53" in text and behind.exists():
        return behind.read_text()
    return text


def _open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def _ssh_answers(host: Host) -> bool:
    if not _open(host.address, host.ssh_port):
        return False
    try:
        run("Log in", host.ssh_argv("true"), timeout=10)
    except StepFailed:
        return False  # pam_nologin until the boot is complete
    return True


def _record(lab: Instance, host: Host) -> None:
    write(lab.hosts_dir / host.name / "host.json", json.dumps(asdict(host), indent=2))


def _recorded(lab: Instance, name: str) -> Host | None:
    return next((host for host in _recorded_hosts(lab) if host.name == name), None)


def _recorded_hosts(lab: Instance) -> list[Host]:
    return [Host(**json.loads(record.read_text())) for record in sorted(lab.hosts_dir.glob("*/host.json"))]


def status(lab: Instance | None = None) -> list[Host]:
    """The hosts of this lab with their state now, by name."""
    lab = lab or Instance()
    return [replace(host, state=_state(lab, host)) for host in _recorded_hosts(lab)]


def _state(lab: Instance, host: Host) -> str:
    if _backend(lab, host.backend).is_running(host.name):
        return "running" if _open(host.address, host.ssh_port) else "broken"
    return "stopped" if (lab.hosts_dir / host.name / "furnished").exists() else "broken"


def find(name: str | None = None) -> Host:
    """A host by name; the only one, or the default one, where none is given. Raises StepFailed."""
    hosts = {host.name: host for host in status()}
    if name is None and hosts:
        name = next(iter(hosts)) if len(hosts) == 1 else DEFAULT_NAME
    if name not in hosts:
        raise StepFailed(
            f"Find the host {name or ''}", f"there is none; up are: {', '.join(hosts) or 'none'} (slipway lab up)"
        )
    return hosts[name]


def stop(name: str) -> None:
    """Cut the power of a host; `up` boots it again with its disk as it was."""
    lab = Instance()
    with lab.locked():
        _backend(lab, find(name).backend).stop(name)


def down(names: Iterable[str] = (), everything: bool = False, progress: Progress | None = None) -> None:
    """Remove hosts; with the last one, or with `everything`, whatever else the lab put on this machine."""
    packages.need_root()
    lab, progress = Instance(), progress or Progress()
    with lab.locked():
        present = {path.name for path in lab.hosts_dir.glob("*")}
        wanted = present if everything else set(names)
        for name in sorted(wanted - present):
            progress.say(f"There is no host {name}")
        for name in sorted(wanted & present):
            with progress.step(f"Remove {name}"):
                _forget_names(lab, name)
                # Each kind: an `up` that was killed early has not recorded which it was to be.
                for backend in BACKENDS:
                    _backend(lab, backend).destroy(name)
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
    if host and lab.processes("dns"):
        for domain in host.domains:
            acme.remove_name(_gateway(lab), domain)


def pyinfra_data(host: Host) -> dict[str, Any]:
    """What pyinfra and Slipway must know of a lab host: how to reach it, and the settings that differ in the lab."""
    lab = Instance()
    mirrored = json.loads((lab.state / "mirror.json").read_text())
    mirrored.pop("root", None)
    return {
        "ssh_hostname": host.address,
        "ssh_port": host.ssh_port,
        "ssh_user": host.user,
        "ssh_key": host.key_file,
        "ssh_known_hosts_file": host.known_hosts_file,
        **({} if host.user == "root" else {"_sudo": True}),
        "site_domain": host.domain,
        "tls_acme_server": acme.directory_url(_gateway(lab)),
        "secrets_file": str(secrets_file(host)),
        **mirrored,
    }


def trusted_roots() -> Path:
    """A CA file for clients of the lab's sites."""
    lab = Instance()
    return acme.root_bundle(lab, _gateway(lab))


def secrets_file(host: Host) -> Path:
    """The file with the secrets that the lab made up for a host's backend."""
    return Instance().hosts_dir / host.name / "secrets.env"
