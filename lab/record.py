"""What is known of the throwaway hosts without asking them. An inventory needs no more, and each command loads it."""

from __future__ import annotations

import json
import runpy
import shlex
from dataclasses import dataclass, fields
from typing import Any

from slipway import project
from slipway.lab import network
from slipway.lab.instance import Instance
from slipway.secrets.store import MONGODB_ADMIN, MONGODB_BACKEND

# The lab's own way in, whoever else a host lets in or shuts out: what a provider's rescue console is.
LAB_USER, LAB_USER_ID = "lab", 1000
DEFAULT_DISK_GB = 10


@dataclass(frozen=True)
class Host:
    """A throwaway host as `lab status --json` shows it."""

    name: str
    address: str
    ssh_port: int
    # Whom it lets in when it is new: "root", or "admin" with sudo.
    user: str
    key_file: str
    known_hosts_file: str
    backend: str
    system: str
    domain: str
    state: (
        str  # running: ssh answers; silent: it runs, and ssh does not answer; stopped: `up` boots it; broken: no disk
    )
    disk_gb: int = DEFAULT_DISK_GB
    # What is added to a port of the host's, where this machine forwards it.
    port_offset: int = 0
    snapshots: tuple[str, ...] = ()
    # HOST:LABEL, the snapshot that it is a copy of.
    copy_of: str = ""

    @property
    def number(self) -> int:
        """Its own in the lab, 10 to 254: what its address ends with."""
        return int(self.address.rpartition(".")[2])

    @property
    def domains(self) -> list[str]:
        """The names that the lab's DNS knows it by."""
        return [self.domain, f"www.{self.domain}"]

    def ssh_argv(self, *command: str) -> list[str]:
        """The command that logs in as root, or runs a shell command as root, by the lab's own way in."""
        as_root = f"sudo -n sh -c {shlex.quote(' '.join(command))}" if command else "sudo -i"
        return [
            *("ssh", "-F", "none", "-i", self.key_file, "-p", str(self.ssh_port)),
            *("-o", f"UserKnownHostsFile={self.known_hosts_file}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", *([] if command else ["-t"])),
            *(f"{LAB_USER}@{self.address}", as_root),
        ]


def recorded_hosts(lab: Instance) -> list[Host]:
    """The hosts of a lab as `up` has written them down, by name: their state is that of then."""
    known = {field.name for field in fields(Host)}
    records = [json.loads(path.read_text()) for path in sorted(lab.hosts_dir.glob("*/host.json"))]
    # What another version of the lab recorded beyond that is not needed to go on, or to remove the host.
    return [Host(**{name: value for name, value in record.items() if name in known}) for record in records]


def running() -> list[Host]:
    """The hosts of this lab that have processes, by name, whether or not ssh answers: nothing is asked of them."""
    lab = Instance()
    roles = set(lab.processes().values())
    return [host for host in recorded_hosts(lab) if f"host/{host.name}" in roles]


def pyinfra_data(host: Host) -> dict[str, Any]:
    """What pyinfra and Slipway must know of a lab host: how to reach it, and the settings that differ in the lab."""
    lab = Instance()
    mirrored = json.loads((lab.state / "mirror.json").read_text())
    mirrored.pop("root", None)
    return {
        "ssh_hostname": host.address,
        "ssh_port": host.ssh_port,
        "ssh_user": "admin",
        "_sudo": True,
        "ssh_key": host.key_file,
        "ssh_known_hosts_file": host.known_hosts_file,
        "admin_keys": [f"{host.key_file}.pub"],
        "site_domain": host.domain,
        "tls_acme_server": network.of(lab).acme_directory,
        # A throwaway host has no secrets of anybody's: it generates what the project's backend wants.
        "secrets_file": "",
        "generated_secrets": [*_backend_secrets(), MONGODB_ADMIN, MONGODB_BACKEND],
        **mirrored,
    }


def _backend_secrets() -> list[str]:
    """What the project names; a mistake in its settings is told by their check."""
    try:
        found = runpy.run_path(str(project.folder() / project.SETTINGS)).get("backend_secrets")
    except (Exception, SystemExit):
        return []
    return list(found) if isinstance(found, list) else []
