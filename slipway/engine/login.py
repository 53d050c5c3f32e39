"""Who logs in to a host, and by which port: what the inventory says, or what a host that is not so far yet still has.

The inventory names the login of a finished server (the admin, with sudo). A fresh one knows root alone, and one whose
ssh port is about to change still listens on the old.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paramiko import PKey, SSHClient
from paramiko.pkey import PublicBlob
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector

from slipway.settings.model import Settings

SSH_PORT = 22
# It logs what a failed connection raises, with a traceback; what has failed is told by whoever tried.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Login:
    user: str
    port: int

    @property
    def needs_sudo(self) -> bool:
        return self.user != "root"


class LoginFailed(Exception):
    """A login that was refused or not answered; its text is one line."""


def candidates(host: Host, settings: Settings) -> list[Login]:
    """The logins to try, in order: as the inventory says; then what a host has that is not so far yet."""
    data = host.data
    named = data.get("ssh_port")
    ports = [named or settings.sshd_port, settings.sshd_port, SSH_PORT]
    users = [data.get("ssh_user") or settings.admin_user, settings.admin_user, "root"]
    return [Login(user, port) for port in dict.fromkeys(ports) for user in dict.fromkeys(users)]


def connect(host: Host, settings: Settings) -> Login | None:
    """Connect `host` by the first login that works, and say which, None where it is not by ssh. Raises ConnectError
    about the login that the inventory says."""
    if not isinstance(host.connector, SSHConnector):
        host.connect(show_errors=False, raise_exceptions=True)
        return None
    refused: set[int] = set()
    first: ConnectError | None = None
    for login in candidates(host, settings):
        if login.port in refused:
            continue
        _use(host, login)
        try:
            host.connect(show_errors=False, raise_exceptions=True)
        except ConnectError as error:
            first = first or error
            # Another user won't do where nobody answers, or where the host is not the one that we know.
            if "Authentication error" not in str(error):
                refused.add(login.port)
            continue
        host.data._sudo = bool(login.needs_sudo and host.data.get("_sudo", True))
        return login
    assert first
    raise first


def _use(host: Host, login: Login) -> None:
    host.connector.data["ssh_user"], host.connector.data["ssh_port"] = login.user, login.port


@contextmanager
def opened(host: Host, login: Login) -> Iterator[SSHClient]:
    """A second connection to `host`, made as the first one was, but by `login`. Raises LoginFailed."""
    connector = SSHConnector(host.state, host)
    connector.data = {**host.connector.data, "ssh_user": login.user, "ssh_port": login.port}  # type: ignore[typeddict-item]
    try:
        connector.connect()
    except ConnectError as error:
        raise LoginFailed(str(error)) from None
    assert connector.client
    with closing(connector.client) as client:
        yield client


def run_by_new_login(host: Host, login: Login, script: str, seconds: float) -> None:
    """Log in anew and run a shell script as root there. Raises LoginFailed when that does not work for `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with opened(host, login) as client:
                prefix = "sudo -n " if login.needs_sudo else ""
                _, output, errors = client.exec_command(f"{prefix}sh -euc {shlex.quote(script)}", timeout=seconds)
                if output.channel.recv_exit_status() == 0:
                    return
                raise LoginFailed(f"{login.user} is logged in, and: {errors.read().decode().strip()}")
        except (LoginFailed, OSError) as error:
            if time.monotonic() > deadline:
                raise LoginFailed(str(error)) from None
        time.sleep(0.5)


def remember_keys(host: Host, port: int, public_keys: list[str]) -> None:
    """Let the operator's known_hosts have exactly these keys for `host` at `port`.

    They came by a connection to this very host, and so are as good as the key that is known already. Without this a
    server that gets a better key, or another port, would be a stranger to every next connection.
    """
    client = host.connector.client  # type: ignore[attr-defined]
    address = client.parse_config(host.connector.data["ssh_hostname"] or host.name)[0]
    name = address if port == SSH_PORT else f"[{address}]:{port}"
    file = client._host_keys_filename
    keys = [PublicBlob.from_string(line) for line in public_keys]
    for key in keys:
        client._host_keys.add(name, key.key_type, PKey.from_type_string(key.key_type, key.key_blob))
    wanted = {f"{key.key_type} {b64encode(key.key_blob).decode()}" for key in keys}
    shown = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False).stdout
    found = {" ".join(line.split()[1:3]) for line in shown.splitlines() if line and not line.startswith("#")}
    if file and wanted and found != wanted:
        if found:
            subprocess.run(["ssh-keygen", "-q", "-R", name, "-f", file], capture_output=True, check=True)
        with Path(file).open("a") as known_hosts:
            known_hosts.writelines(f"{name} {key}\n" for key in sorted(wanted))
