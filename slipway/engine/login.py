"""Who logs in to a host, and by which port: what the inventory says, or what a host that is not so far yet still has.

The inventory names the login of a finished server (the admin, with sudo). A fresh one knows root alone, and one whose
ssh port is about to change still listens on the old.
"""

from __future__ import annotations

import getpass
import logging
import secrets
import shlex
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from paramiko import PKey, SSHClient
from paramiko.pkey import PublicBlob
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector

from slipway.engine import environment, known_hosts, openssh
from slipway.engine.openssh import SSH_PORT
from slipway.engine.remote_shell import NoAnswer, NoShell
from slipway.engine.ssh_client import Client
from slipway.settings.model import Settings

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
    """The logins to try, in order: as the inventory says, or ssh's own configuration; then what a host has that is not
    so far yet. Raises ConnectError."""
    data = host.data
    port, user = data.get("ssh_port"), data.get("ssh_user")
    if not (port and user):
        way = openssh.way(host.name, {**host.connector.data, "ssh_user": user, "ssh_port": port})
        # ssh's defaults are the user's name here, and port 22: they say nothing about the host.
        port = port or (way.port if way.port != SSH_PORT else None)
        user = user or (way.user if way.user != getpass.getuser() else None)
    ports = [port or settings.sshd_port, settings.sshd_port, SSH_PORT]
    users = [user or settings.admin_user, settings.admin_user, "root"]
    return [Login(user, port) for port in dict.fromkeys(ports) for user in dict.fromkeys(users)]


def connect(host: Host, settings: Settings, is_known: bool, was_root: bool = False) -> str:
    """Connect `host` by the first login that works. Where that is not the first one, a line says which and why.

    `is_known` says that the first one has worked before: it is not tried out. `was_root` says that only root could log
    in the last time: root is tried first, as each failed login counts for the fail2ban of an earlier owner. Raises
    ConnectError with what is wrong with each.
    """
    if not isinstance(host.connector, SSHConnector):
        host.connect(show_errors=False, raise_exceptions=True)
        return ""
    to_try = candidates(host, settings)
    wanted, tried = to_try[0], set[Login]()
    if was_root:
        to_try.sort(key=lambda one: one.needs_sudo)
    refused: set[int] = set()
    failures: list[str] = []
    said, by_sudo = "", host.data.get("_sudo", True)
    while to_try:
        login = to_try.pop(0)
        if login in tried or login.port in refused:
            continue
        tried.add(login)
        _use(host, login)
        try:
            host.connect(show_errors=False, raise_exceptions=True)
            # Whom the host itself has named is no root, whatever the inventory says of another user.
            host.data._sudo = bool(login.needs_sudo and (by_sudo or said))
            if not (is_known and login == wanted):
                host.connector.prove_login()  # type: ignore[attr-defined]
            if was_root and wanted not in tried:
                was_root = False
                if host.connector.has_user(wanted.user):  # type: ignore[attr-defined]
                    # An apply has created it since.
                    host.disconnect()
                    tried.discard(login)
                    to_try[:0] = [wanted, login]
                    continue
            if login == wanted:
                return ""
            why = f"root says: {said}" if said else f"{wanted.user} (port {wanted.port}) can't log in yet"
            return f"connecting as {login.user} (port {login.port}){' with sudo' if said else ''}: {why}"
        except ConnectError as error:
            failures.append(str(error))
            # Another user won't do where nobody answers, or where the host is not the one that we know.
            if "Authentication error" not in str(error):
                refused.add(login.port)
        except NoAnswer as error:
            failures.append(f"{login.user} logs in by port {login.port}, but {error}")
            if isinstance(error, NoShell) and error.user_to_be:
                said = error.said
                to_try.insert(0, Login(error.user_to_be, login.port))
        host.disconnect()
    raise ConnectError("\n".join(_telling(failures)))


def _telling(failures: list[str]) -> list[str]:
    """What is told of them: where the host has answered by one port, nobody asks why not by another."""
    answered = [text for text in failures if "Authentication error" in text or " logs in by port " in text]
    return answered or failures[:1]


def _use(host: Host, login: Login) -> None:
    host.connector.data["ssh_user"], host.connector.data["ssh_port"] = login.user, login.port


@contextmanager
def opened(host: Host, login: Login) -> Iterator[SSHClient]:
    """A second connection to `host`, made as the first one was, but by `login`. Raises LoginFailed."""
    connector = type(host.connector)(host.state, host)
    assert isinstance(connector, SSHConnector)
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
                as_root = f"/bin/sh -euc {shlex.quote(environment.inside() + script)}"
                if not login.needs_sudo:
                    ways = [as_root]
                else:
                    ways = [f"sudo -H -n {as_root}", environment.with_terminal(f"sudo -H -n {as_root}")]
                for command in ways:
                    code, said = _run(client, command, seconds)
                    if code == 0:
                        return
                    if environment.NEEDS_TERMINAL not in said:
                        break
                raise LoginFailed(f"{login.user} is logged in, and: {said}")
        except (LoginFailed, OSError) as error:
            if time.monotonic() > deadline:
                raise LoginFailed(str(error)) from None
        time.sleep(0.5)


def _run(client: SSHClient, command: str, seconds: float) -> tuple[int, str]:
    """The exit code of a command for `sh`, and its errors."""
    mark = secrets.token_hex(12)
    _, output, errors = client.exec_command(environment.marked(command, mark), timeout=seconds)
    code = output.channel.recv_exit_status()
    return code, errors.read().decode(errors="replace").rpartition(mark)[2].strip()


def remember_keys(host: Host, port: int, public_keys: list[str]) -> None:
    """Let the operator's known_hosts have exactly these keys for `host` at `port`.

    They came by a connection to this very host, and so are as good as the key that is known already. Without this a
    server that gets a better key, or another port, would be a stranger to every next connection.
    """
    client = host.connector.client  # type: ignore[attr-defined]
    keys = [PublicBlob.from_string(line) for line in public_keys]
    if isinstance(client, Client):
        way = openssh.way(host.name, {**host.connector.data, "ssh_port": port})
        name, file = way.known_as, way.own_known_hosts or None
    else:  # pyinfra's own, which reads the file once
        address = client.parse_config(host.connector.data["ssh_hostname"] or host.name)[0]
        name, file = address if port == SSH_PORT else f"[{address}]:{port}", client._host_keys_filename
        for key in keys:
            client._host_keys.add(name, key.key_type, PKey.from_type_string(key.key_type, key.key_blob))
    if not file:
        return
    try:
        known_hosts.remember(file, name, {f"{key.key_type} {b64encode(key.key_blob).decode()}" for key in keys})
    except OSError as error:
        logger.warning("%s can't be written (%s): the host's keys are not remembered", file, error.strerror)
