"""The ssh connection below pyinfra's connector."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from paramiko import Channel, ChannelException, SSHException, Transport
from pyinfra.api.host import Host

from slipway.settings import limits

# What we send each so often must be acknowledged by the host's TCP, tcp(7).
KEEPALIVE_SECONDS = 15


def transport(host: Host) -> Transport | None:
    """The connection to `host`, None where it is not by ssh."""
    client = getattr(host.connector, "client", None)
    return client.get_transport() if client else None


def peer_address(host: Host) -> str | None:
    """The address that we reach `host` by, None where it is not by ssh. Raises SSHException if the connection broke."""
    connection = transport(host)
    try:
        # Through a jump host nobody here knows.
        address = connection.getpeername() if connection else None
    except OSError as error:  # paramiko has closed its socket
        raise SSHException("the connection broke") from error
    return address[0] if isinstance(address, tuple) else None


def send_at_once(host: Host) -> None:
    """Switch off Nagle's algorithm, which paramiko leaves on: each command waits some 40 ms for an acknowledgement."""
    connection = transport(host)
    if connection and isinstance(connection.sock, socket.socket) and _is_direct(connection.sock):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(host: Host) -> None:
    """Notice a host that is gone: one that a command runs on may be silent for long, its TCP may not."""
    connection = transport(host)
    if connection:
        connection.set_keepalive(KEEPALIVE_SECONDS)
    if connection and isinstance(connection.sock, socket.socket) and _is_direct(connection.sock):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.of_host(host).silence * 1000)


def _is_direct(connection: socket.socket) -> bool:
    """Whether a connection is by TCP from here; through a jump host it is by another program."""
    return connection.family in (socket.AF_INET, socket.AF_INET6)


def connected_port(host: Host) -> int:
    """The port that we reach `host` by; a router may forward it to another."""
    client = getattr(host.connector, "client", None)
    return int(client._ssh_config.get("port", 22)) if client else 22


def tell_when_broken(host: Host) -> None:
    """Make paramiko tell of a connection that breaks by an error of ssh's: pyinfra takes that for the host's failure.

    The end of file that it raises instead stands, everywhere else in Python and in click, for a user who has left.
    """
    connection = transport(host)
    if not connection:
        return
    original = connection.get_exception

    def get_exception() -> Exception | None:
        error = original()
        return SSHException("the connection broke") if isinstance(error, EOFError) else error

    connection.get_exception = get_exception  # type: ignore[method-assign]


@contextmanager
def broken_by_name() -> Iterator[None]:
    """The same for what is sent on a connection just as it breaks: paramiko raises EOFError there, too."""
    try:
        yield
    except EOFError as error:
        raise SSHException("the connection broke") from error


def open_session(connection: Transport, patience: float, seconds: float | None = None) -> Channel:
    """A new session of a connection, which is waited for `seconds` at most. Raises SSHException.

    sshd counts a session that has just ended for a moment more, and refuses one above its limit (MaxSessions): for
    `patience` seconds it is asked again.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            with broken_by_name():
                return connection.open_session(timeout=seconds)
        except ChannelException:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
