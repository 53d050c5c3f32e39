"""The keys that a login offers, in OpenSSH's order: those of its configuration that the agent has, the agent's others,
and files."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from getpass import getpass
from pathlib import Path

from paramiko import ECDSAKey, Ed25519Key, Message, PasswordRequiredException, PKey, RSAKey, SSHException
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import PublicBlob
from pyinfra.connectors.ssh_util import _patch_paramiko_sk_key_support

from slipway.engine.openssh import Way

AGENT_SECONDS = 10


@dataclass
class Offer:
    """A key to try, and what an error calls it."""

    label: str
    key: PKey


@dataclass
class Keys:
    """The keys for a way to a host. `unusable` says of each that can't be offered why, once they were gone through."""

    way: Way
    # Of a key file that the inventory names; else it is asked for, where there is a terminal.
    passphrase: str = ""
    may_ask: bool = False
    uses_agent: bool = True
    uses_files: bool = True
    unusable: list[str] = field(default_factory=list)

    def offers(self) -> Iterator[Offer]:
        # Keys of a security token have no inner key in paramiko.
        _patch_paramiko_sk_key_support()
        certificates = [blob for file in self.way.certificate_files if (blob := _public(file))]
        files = self.way.identity_files if self.uses_files else ()
        held = self._held()
        named = {file: _blobs_of(file) for file in files}
        for file, blobs in named.items():
            for key in [key for key in held if key.blob in blobs]:
                yield from _with_certificates(Offer(f"{file} (by the agent)", key), [*certificates, *_beside(file)])
        if not self.way.identities_only:
            listed = {blob for blobs in named.values() for blob in blobs}
            for key in held:
                if key.blob not in listed:
                    yield from _with_certificates(Offer(f"the agent's {_name(key)}", key), certificates)
        for file, blobs in named.items():
            if any(key.blob in blobs for key in held) or _public(file):
                continue
            if not Path(file).is_file():
                self.unusable += [f"ssh_key: found no file {file}"] if self.may_ask else []
                continue
            if loaded := self._loaded(file):
                yield from _with_certificates(Offer(file, loaded), [*certificates, *_beside(file)])

    def _held(self) -> list[AgentKey]:
        if not self.uses_agent or not self.way.agent:
            return []
        try:
            return [*_agent(self.way.agent).get_keys()]
        except (OSError, SSHException) as error:
            self.unusable.append(f"the agent at {self.way.agent}: {error}")
            return []

    def _loaded(self, file: str) -> PKey | None:
        try:
            return _load(file, self.passphrase, self._ask if self.may_ask else None)
        except PasswordRequiredException:
            self.unusable.append(f"{file}: encrypted, and no agent has it (ssh-add {file})")
        except SSHException as error:
            what = "a key of a kind that only an agent can use" if "invalid" in str(error).lower() else str(error)
            self.unusable.append(f"{file}: {what} (ssh-add {file})")
        except OSError as error:
            self.unusable.append(f"{file}: {error.strerror}")
        return None

    @staticmethod
    def _ask(file: str) -> str:
        return getpass(f"Enter passphrase for key '{file}': ")


@cache
def _load(file: str, passphrase: str, ask: Callable[[str], str] | None) -> PKey:
    """A private key. Raises SSHException, PasswordRequiredException where it is encrypted and nobody can be asked."""
    failure: SSHException = SSHException("not a valid private key")
    for kind in (Ed25519Key, ECDSAKey, RSAKey):
        try:
            return kind.from_private_key_file(file, passphrase or None)
        except PasswordRequiredException:
            if not (ask and sys.stdin.isatty()):
                raise
            return _load(file, ask(file), None)
        except SSHException as error:
            failure = error
    raise failure


def _agent(path: str) -> AgentSSH:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(AGENT_SECONDS)
    connection.connect(path)
    # A key of a security token is signed with when its owner touches it.
    agent = AgentSSH()
    agent._connect(connection)  # type: ignore[attr-defined]
    connection.settimeout(None)
    return agent


def _public(file: str) -> PublicBlob | None:
    """What is in a file with one public key or certificate, None where there is no such file."""
    with suppress(OSError, ValueError, IndexError, UnicodeDecodeError):
        text = Path(file).read_text()
        if "PRIVATE KEY" not in text:
            return PublicBlob.from_string(text)
    return None


def _blobs_of(file: str) -> list[bytes]:
    """The public half of an identity file, which may be that half itself, and its certificate."""
    found = [_public(file) or _public(f"{file}.pub"), _public(f"{file}-cert.pub")]
    return [blob.key_blob for blob in found if blob]


def _beside(file: str) -> list[PublicBlob]:
    blob = _public(f"{file}-cert.pub")
    return [blob] if blob else []


def _with_certificates(offer: Offer, certificates: list[PublicBlob]) -> Iterator[Offer]:
    """A key with each certificate that is its own, and alone."""
    own = offer.key.asbytes()
    for blob in certificates:
        if _is_of(blob.key_blob, own):
            key = offer.key
            # copy() of the agent's would not end.
            certified = AgentKey(key.agent, key.blob, key.comment) if isinstance(key, AgentKey) else copy(key)
            certified.public_blob = blob
            yield Offer(f"{offer.label} with its certificate", certified)
    yield offer


def _is_of(certificate: bytes, key: bytes) -> bool:
    """Whether a certificate is a key's. It has a nonce before the fields of the key, PROTOCOL.certkeys."""
    certified, plain = Message(certificate), Message(key)
    if not certified.get_text().startswith(plain.get_text().partition("@")[0]):
        return False
    certified.get_binary()
    return certified.get_remainder().startswith(plain.get_remainder())


def _name(key: AgentKey) -> str:
    return f"{key.get_name()} {key.comment}".strip()
