"""The recorded facts of the throwaway hosts, without a connection to them. Every command loads this module."""

from __future__ import annotations

import json
import runpy
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from slipway import project
from slipway.lab import network
from slipway.lab.instance import Instance, write
from slipway.secrets import env_file
from slipway.secrets.store import AUTHORITY, MONGODB_ADMIN, MONGODB_BACKEND, OWN
from slipway.settings.inventory import ROLES
from slipway.systems import SYSTEMS, lent_by

# The lab's own account on each host, like a provider's rescue console.
LAB_USER, LAB_USER_ID = "lab", 1000
DEFAULT_DISK_GB = 10


@dataclass(frozen=True)
class Host:
    """A throwaway host as `lab status --json` shows it."""

    name: str
    address: str
    ssh_port: int
    # The initial user: "root", or "admin" with sudo.
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
    # The offset of the host's forwarded ports.
    port_offset: int = 0
    snapshots: tuple[str, ...] = ()
    # HOST:LABEL of the snapshot that it was copied from.
    copy_of: str = ""

    @property
    def number(self) -> int:
        """The host's number in the lab, 10 to 254, the end of its address."""
        return int(self.address.rpartition(".")[2])

    @property
    def domains(self) -> list[str]:
        """The host's names in the lab's DNS."""
        return [self.domain, f"www.{self.domain}"]

    def ssh_argv(self, *command: str) -> list[str]:
        """The command that logs in as root, or runs a shell command as root, by the lab's account."""
        as_root = f"sudo -n sh -c {shlex.quote(' '.join(command))}" if command else "sudo -i"
        return [
            *("ssh", "-F", "none", "-i", self.key_file, "-p", str(self.ssh_port)),
            *("-o", f"UserKnownHostsFile={self.known_hosts_file}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", *([] if command else ["-t"])),
            *(f"{LAB_USER}@{self.address}", as_root),
        ]


def recorded_hosts(lab: Instance) -> list[Host]:
    """The hosts of a lab as recorded by `up`, by name; their state may be outdated."""
    known = {field.name for field in fields(Host)}
    records = [json.loads(path.read_text()) for path in sorted(lab.hosts_dir.glob("*/host.json"))]
    # Ignore fields of other versions of the lab.
    return [Host(**{name: value for name, value in record.items() if name in known}) for record in records]


def running() -> list[Host]:
    """The hosts of this lab that have processes, by name, whether or not ssh answers."""
    lab = Instance()
    roles = set(lab.processes().values())
    return [host for host in recorded_hosts(lab) if f"host/{host.name}" in roles]


def roles(text: str, there: Sequence[str]) -> dict[str, list[str]]:
    """The hosts by role of "lb=a web=b,c", {} for "". Raises SystemExit."""
    pairs = [pair.partition("=") for pair in text.split()]
    found = {role: names.split(",") for role, _, names in pairs}
    wrong = [role for role in found if role not in ROLES]
    wrong += [name for names in found.values() for name in names if name not in there]
    if wrong:
        raise SystemExit(
            f"SLIPWAY_LAB_ROLES: found {', '.join(wrong)}, expected ROLE=HOST,... of the roles {', '.join(ROLES)} and"
            f" hosts that are up: {', '.join(there)}"
        )
    return found


def pyinfra_data(host: Host) -> dict[str, Any]:
    """The data of a lab host for pyinfra: its connection, and the settings that differ in the lab."""
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
        # A throwaway host gets no real secrets: it generates those that the project's backend needs.
        "secrets_file": "",
        "generated_secrets": [*_backend_secrets(), MONGODB_ADMIN, MONGODB_BACKEND],
        **mirrored,
        **_mongodb_suite(host.system),
    }


def shared_secrets() -> str:
    """The file with the secrets that several hosts of the lab share, made once."""
    from slipway.secrets.authority import create  # few need it, and it takes long to import

    path = Instance().state / "secrets.env"
    there = env_file.parse(path.read_text()) if path.exists() else {}
    found = {name: there.get(name) or secrets.token_hex(32) for name in (*_backend_secrets(), *OWN)}
    authority = {name: there.get(name, "") for name in AUTHORITY}
    found |= authority if all(authority.values()) else create(datetime.now(UTC))
    if found != there:
        write(path, "".join(env_file.line(name, value) for name, value in found.items()))
    return str(path)


def _mongodb_suite(system: str) -> dict[str, str]:
    """The setting for a system without MongoDB packages: those of its previous release."""
    found = SYSTEMS.get(system)
    lender = lent_by(found) if found else None
    return {"mongodb_apt_suite": lender.codename} if lender else {}


def _backend_secrets() -> list[str]:
    """The names in the project's settings; the settings check reports mistakes in them."""
    try:
        found = runpy.run_path(str(project.folder() / project.SETTINGS)).get("backend_secrets")
    except (Exception, SystemExit):
        return []
    return list(found) if isinstance(found, list) else []
