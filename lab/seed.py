"""The identity of a host: its name, addresses, keys and trusted CAs, as a provider sets at the first boot.

Every kind of host uses the same data: a container's tree gets it as an archive, a virtual machine unpacks the same
archive at its first boot, and a cloud image gets it through cloud-init.
"""

from __future__ import annotations

import base64
import io
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from slipway.engine import known_hosts
from slipway.lab.image import AUTHORITIES, FURNISH, added_authorities
from slipway.lab.instance import write
from slipway.lab.record import LAB_USER, LAB_USER_ID
from slipway.lab.steps import run

LAB_AUTHORITY = AUTHORITIES / "slipway-lab.crt"
# Of the sites' certificates, so that programs on a host reach its sites as visitors do.
SITES_AUTHORITY = AUTHORITIES / "slipway-lab-sites.crt"
# The effect of update-ca-certificates, which takes half a minute in emulation.
TRUST_LAB = f"""\
for file in {LAB_AUTHORITY} {SITES_AUTHORITY}; do
    name=$(basename $file .crt)
    cat $file >> /etc/ssl/certs/ca-certificates.crt
    ln -sfn $file /etc/ssl/certs/$name.pem
    ln -sfn $name.pem /etc/ssl/certs/$(openssl x509 -hash -noout -in $file).0
done
"""
MAKE_ADMIN = """\
useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin; chmod 440 /etc/sudoers.d/admin
install -d -m 700 -o admin -g admin /home/admin/.ssh
install -m 600 -o admin -g admin /home/lab/.ssh/authorized_keys /home/admin/.ssh/
"""
HOST_KEY_TYPES = ("ed25519", "ecdsa", "rsa")
# `slipway apply` generates a 4096-bit key. Debian's default of 3072 bits takes a second of processor time.
RSA_BITS = 2048


@dataclass(frozen=True)
class File:
    """A file to be written, with its absolute path."""

    path: str
    content: str
    mode: int = 0o644
    owner: int = 0


@dataclass(frozen=True)
class Seed:
    """The files of a host, and for cloud-init its other settings."""

    name: str
    # The initial user, as with providers: "root", or "admin" with sudo.
    user: str
    domains: tuple[str, ...]
    address: str
    # systemd-networkd's file for the host's one interface, and /etc/resolv.conf.
    network: str
    resolver: str
    public_key: str
    host_keys: dict[str, str]
    # The CA of the lab's ACME server, and the one that it issues certificates with.
    authority: str
    sites_authority: str
    # A copy: users and trusted CAs exist already.
    is_copy: bool = False

    @property
    def hosts_file(self) -> str:
        return f"127.0.0.1 localhost\n::1 localhost\n{self.address} {' '.join(self.domains)} {self.name}\n"

    @property
    def files(self) -> list[File]:
        """All files, for a system built by the lab."""
        return [*self._own_files, File(FURNISH, "", 0o755)] if self.is_copy else [*self._own_files, *self._access_files]

    @property
    def _own_files(self) -> list[File]:
        """The files that are unique to each host."""
        return [
            File("/etc/hostname", f"{self.name}\n"),
            File("/etc/hosts", self.hosts_file),
            File("/etc/resolv.conf", self.resolver),
            File("/etc/systemd/network/10-lab.network", self.network),
            *self._host_key_files(),
        ]

    @property
    def _access_files(self) -> list[File]:
        """Logins and trusted CAs."""
        return [
            File(f"/home/{LAB_USER}/.ssh/authorized_keys", self.public_key, 0o600, LAB_USER_ID),
            *([File("/root/.ssh/authorized_keys", self.public_key, 0o600)] if self.user == "root" else []),
            File(str(LAB_AUTHORITY), self.authority),
            File(str(SITES_AUTHORITY), self.sites_authority),
            File(FURNISH, TRUST_LAB + (MAKE_ADMIN if self.user == "admin" else ""), 0o755),
        ]

    def _host_key_files(self) -> list[File]:
        return [
            File(f"/etc/ssh/{name}", text, 0o644 if name.endswith(".pub") else 0o600)
            for name, text in self.host_keys.items()
        ]

    def archive(self) -> bytes:
        """The files as a tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for file in self.files:
                data = file.content.encode()
                member = tarfile.TarInfo(file.path.lstrip("/"))
                member.size, member.mode, member.uid, member.gid = len(data), file.mode, file.owner, file.owner
                archive.addfile(member, io.BytesIO(data))
        return buffer.getvalue()

    def cloud_config(self) -> str:
        """cloud-init's user-data. https://cloudinit.readthedocs.io/en/latest/reference/modules.html"""
        access = {"ssh_authorized_keys": [self.public_key.strip()], "lock_passwd": True}
        with_sudo = {"sudo": "ALL=(ALL) NOPASSWD: ALL", "shell": "/bin/bash"}
        first = {"name": self.user, **access, **({} if self.user == "root" else with_sudo)}
        config = {
            "hostname": self.name,
            "manage_etc_hosts": False,
            "disable_root": False,
            "users": [{"name": LAB_USER, **access, **with_sudo}, first],
            # The lab creates the host keys, so that they are known before the first boot.
            "ssh_deletekeys": False,
            "ca_certs": {"trusted": [self.authority, self.sites_authority, *added_authorities().values()]},
            "write_files": [
                {
                    "path": file.path,
                    "content": base64.b64encode(file.content.encode()).decode(),
                    "encoding": "b64",
                    "permissions": f"0{file.mode:o}",
                }
                for file in (File("/etc/hosts", self.hosts_file), *self._host_key_files())
            ],
        }
        return f"#cloud-config\n{yaml.safe_dump(config, sort_keys=False)}"


def host_keys() -> dict[str, str]:
    """New ssh host keys, by file name."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        folder = Path(name)
        for kind in HOST_KEY_TYPES:
            file = folder / f"ssh_host_{kind}_key"
            size = ["-b", str(RSA_BITS)] if kind == "rsa" else []
            argv = ["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "slipway-lab", "-f", str(file)]
            run("Create the host keys", argv)
        return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def known_hosts_with(text: str, address: str, port: int, public_keys: Iterable[str]) -> str:
    """The known_hosts file `text` with only these keys for a host at `address` and `port`."""
    name = address if port == 22 else f"[{address}]:{port}"
    kept = [line for line in text.splitlines() if line.split()[0] != name]
    added = [f"{name} {' '.join(key.split()[:2])}" for key in public_keys]
    return "".join(f"{line}\n" for line in [*kept, *added])


def know(file: Path, address: str, port: int, public_keys: Iterable[str]) -> None:
    """Let a known_hosts file have only these keys for a host. Applies to other hosts change it meanwhile."""
    with known_hosts.alone():
        before = file.read_text() if file.exists() else ""
        write(file, known_hosts_with(before, address, port, public_keys))


def resolver() -> str:
    """This machine's DNS resolver as a container can reach it: a loopback stub is replaced by its upstream."""
    text = Path("/etc/resolv.conf").read_text()
    behind = Path("/run/systemd/resolve/resolv.conf")
    if "nameserver 127.0.0.53" in text and behind.exists():
        return behind.read_text()
    return text
