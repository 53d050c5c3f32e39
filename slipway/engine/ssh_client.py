"""A connection as OpenSSH makes it: by its way to the host (openssh.py), its known hosts, and its keys."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import shorten
from typing import IO, Any

from paramiko import (
    AuthenticationException,
    BadAuthenticationType,
    BadHostKeyException,
    HostKeys,
    MissingHostKeyPolicy,
    PKey,
    SSHClient,
    SSHException,
    Transport,
)
from paramiko.agent import AgentRequestHandler
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.sshuserclient.client import get_missing_host_key_policy

from slipway.engine.openssh import SSH_PORT, Way, known_keys
from slipway.engine.ssh_keys import Keys
from slipway.settings.limits import Limits

# Of what a host says before a login, the characters that an error shows.
MAX_BANNER = 200
# Signatures by RSA are named otherwise than its keys, RFC 8332.
KIND_OF_SIGNATURE = {"rsa-sha2-512": "ssh-rsa", "rsa-sha2-256": "ssh-rsa"}


class Client(SSHClient):
    """paramiko's client, which connects by an OpenSSH's way. Raises ConnectError, or what a connection does."""

    def __init__(self, way: Way, data: Mapping[str, Any], limits: Limits) -> None:
        """`data` are pyinfra's connection data."""
        super().__init__()
        self.way, self._data, self._limits = way, data, limits
        self._ssh_config = {"port": way.port}  # as pyinfra's client has it
        self._proxy: Proxy | None = None
        self._known = known_keys(way)

    def open(self) -> None:
        """Connect and log in."""
        way = self.way
        # paramiko looks it up by a name of its own.
        name = way.hostname if way.port == SSH_PORT else f"[{way.hostname}]:{way.port}"
        self._host_keys = HostKeys()
        for key in self._known.keys:
            self._host_keys.add(name, key.get_name(), key)
        self.set_missing_host_key_policy(_Policy(self))
        if way.proxy:
            self._proxy = Proxy(way.proxy)
        options = self._data.get("ssh_paramiko_connect_kwargs") or {}
        arguments: dict[str, Any] = {
            "timeout": self._limits.connect,
            "banner_timeout": self._limits.handshake,
            "auth_timeout": self._limits.handshake,
            "sock": self._proxy.connection if self._proxy else None,
            "transport_factory": self._transport_for,
            "auth_strategy": self,
        }
        try:
            self.connect(way.hostname, way.port, way.user, **{**arguments, **options})
        except BadHostKeyException as error:
            # Of another kind, or by a name that is only tried in the end, it may be right and new.
            is_known = error.key.get_name() in {key.get_name() for key in self._known.keys}
            is_other = not is_known or self._known.name != way.known_as or error.key in self._known.revoked
            raise ConnectError(self._unknown(error.key) if is_other else self._wrong(error.key)) from None
        except AuthenticationException:
            raise
        except (SSHException, EOFError, OSError) as error:
            if self._proxy and (said := self._proxy.said()):
                raise ConnectError(f"Could not connect through {' '.join(way.proxy)}: {said}") from error
            raise
        if self._data.get("ssh_forward_agent"):
            transport = self.get_transport()
            assert transport
            AgentRequestHandler(transport.open_session())

    def close(self) -> None:
        super().close()
        if self._proxy:
            self._proxy.close()

    def _transport_for(self, sock: Any, **arguments: Any) -> Transport:
        return _Transport(sock, {key.get_name() for key in self._known.keys}, **arguments)

    # --- The host's key

    def judge(self, key: PKey) -> None:
        """Decide about a host whose key is not known. Raises ConnectError."""
        setting = self._data.get("ssh_strict_host_key_checking")
        if setting == "yes" or key in self._known.revoked:
            raise ConnectError(self._unknown(key))
        self._host_keys_filename = self.way.own_known_hosts or None
        try:
            get_missing_host_key_policy(setting).missing_host_key(self, self.way.known_as, key)
        except OSError as error:
            # As with ssh, which goes on.
            logger.warning("%s can't be written (%s): the host key is not remembered", error.filename, error.strerror)

    def _unknown(self, key: PKey) -> str:
        name, files, shown = self.way.known_as, self._files(), _shown(key)
        if key in self._known.revoked:
            return f"The host key of {name} is revoked in {files}: {shown}"
        compare = "and compare the fingerprint with your provider's"
        if self._known.has_authority:
            scan = f"ssh-keyscan -p {self.way.port} {self.way.hostname} >> {self.way.known_hosts[0]}"
            why = f"{files} has a certificate authority for it, and Slipway goes by host keys alone"
            return f"No host key for {name}: {shown}; {why}\n  type `{scan}`, {compare}"
        others = f", which has another kind: {', '.join(map(_called, self._known.keys))}" if self._known.keys else ""
        return (
            f"No host key for {name} in {files}{others}: {shown}\n  type `{self.way.command('true')}` once, {compare}"
        )

    def _wrong(self, key: PKey) -> str:
        name, files = self._known.name, [file for file in self.way.known_hosts if Path(file).exists()]
        known = ", ".join(map(_called, self._known.keys))
        remove = "; ".join(f"ssh-keygen -R '{name}' -f {file}" for file in files)
        return (
            f"REMOTE HOST IDENTIFICATION HAS CHANGED for {name}: {_shown(key)}, {self._files()} has {known}\n"
            "  somebody may be listening in. If the server was set up anew:"
            f" {remove}; then `{self.way.command('true')}`, and compare the fingerprint with your provider's"
        )

    def _files(self) -> str:
        return " and ".join(self.way.known_hosts) or "no file"

    # --- The user's keys

    def authenticate(self, transport: Transport) -> None:
        """Offer one key after the other; paramiko calls it as an AuthStrategy. Raises SSHException."""
        data, refused = self._data, []
        keys = Keys(
            self.way,
            passphrase=data.get("ssh_key_password") or "",
            may_ask=bool(data.get("ssh_key")),
            uses_agent=data.get("ssh_allow_agent") is not False,
            uses_files=bool(data.get("ssh_key")) or data.get("ssh_look_for_keys") is not False,
        )
        try:
            for offer in keys.offers():
                left = self._tried(lambda: transport.auth_publickey(self.way.user, offer.key))  # noqa: B023
                if transport.is_authenticated():
                    return
                if left is not None:
                    raise AuthenticationException(f"the host also wants {' and '.join(left)}, which Slipway can't give")
                refused.append(offer.label)
            if data.get("ssh_password"):
                self._tried(lambda: transport.auth_password(self.way.user, data["ssh_password"]))
                if transport.is_authenticated():
                    return
                refused.append("ssh_password")
        except AuthenticationException:
            raise
        except (SSHException, EOFError) as error:
            if not refused:
                raise
            raise HungUp(refused) from error
        # paramiko takes an end of the connection for a refusal.
        if refused and not transport.is_active():
            raise HungUp(refused)
        # PAM's word about an account that is closed comes so, as does a lawyer's about others'.
        if banner := " ".join((transport.get_banner() or b"").decode(errors="replace").split()):
            keys.unusable.append(f"it says: {shorten(banner, MAX_BANNER)}")
        offered = f"the host refused {', '.join(refused)}" if refused else "there is no key to offer"
        looked = "" if refused else f"; looked for {', '.join(self.way.identity_files)}, and no agent has one"
        raise AuthenticationException("; ".join([f"{offered}{looked}", *keys.unusable]))

    @staticmethod
    def _tried(attempt: Any) -> list[str] | None:
        """What else the host wants after one attempt, None where it was refused."""
        try:
            return attempt()
        except BadAuthenticationType as error:
            raise AuthenticationException(
                f"the host takes no key from this user, only {', '.join(error.allowed_types)}"
            ) from None
        except AuthenticationException as error:
            if "timeout" in str(error):
                raise AuthenticationException(f"the host did not answer a key within its time: {error}") from None
            return None


class HungUp(AuthenticationException):
    """The host ended the connection instead of an answer to a key. `is_first` says that it was asked about one."""

    def __init__(self, refused: list[str]) -> None:
        self.is_first = len(refused) == 1
        super().__init__(
            f"the host ended the connection after it had refused {', '.join(refused)}:"
            " set ssh_key for the host, or IdentitiesOnly in ssh's configuration"
        )


def _called(key: PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"


def _shown(key: PKey) -> str:
    return f"the server shows {_called(key)}"


class _Policy(MissingHostKeyPolicy):
    def __init__(self, client: Client) -> None:
        self._client = client

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        self._client.judge(key)


class _Transport(Transport):
    """paramiko's, which asks a host for a key of the kinds that are known: it may have others."""

    def __init__(self, sock: Any, known: set[str], **arguments: Any) -> None:
        super().__init__(sock, **arguments)
        self._known = known

    def start_client(self, event: Any = None, timeout: float | None = None) -> None:
        options = self.get_security_options()
        options.key_types = sorted(
            options.key_types, key=lambda kind: KIND_OF_SIGNATURE.get(kind, kind) not in self._known
        )
        super().start_client(event, timeout)


class Proxy:
    """A program whose standard input and output are the connection to a host: a jump host's `ssh -W`."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.connection, other = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            with other:
                # A group of its own: Ctrl-C is ours to take.
                self._process = subprocess.Popen(
                    command, stdin=other.fileno(), stdout=other.fileno(), stderr=self._errors, start_new_session=True
                )
        except OSError as error:
            raise ConnectError(f"Could not connect through {' '.join(command)}: {error.strerror}") from None

    def said(self) -> str:
        """Its errors, in one line, where it has ended or is about to."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        return "; ".join(line.strip() for line in lines if line.strip())

    def close(self) -> None:
        self.connection.close()
        if self._process.poll() is None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        self._errors.close()
