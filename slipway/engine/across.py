"""Other hosts of a run, asked while one host is described or changed.

Slipway's own connector sends their questions along with others. Plain pyinfra has no turn on a connection, and sshd
refuses a session above its limit (MaxSessions, tasks/ssh.py): there another host is asked by a connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pyinfra.api import FactBase, Host, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors.util import CommandOutput

T = TypeVar("T")
Question = Callable[[Host], tuple[type[FactBase[T]], dict[str, Any]]]


def of_run(host: Host, names: Iterable[str]) -> list[Host]:
    """Those of the named hosts that this run reaches, `host` among them: of the others nothing can be known."""
    state = host.state
    hosts = [host.inventory.get_host(name) for name in names]
    return [one for one in hosts if one.connected and one not in state.failed_hosts and state.is_host_in_limit(one)]


def facts(host: Host, names: Iterable[str], question: Question[T]) -> dict[str, T]:
    """A fact of each named host that the run reaches, given with its arguments, by the host's name."""
    found: dict[str, T] = {}
    for other in of_run(host, names):
        fact, arguments = question(other)
        if other is host:
            found[other.name] = host.get_fact(fact, **arguments)
            continue
        try:
            found[other.name] = _ask(host, other, fact, arguments)
        except (PyinfraError, ConnectError):
            # It tells by itself.
            continue
    return found


def output(other: Host, command: str) -> str:
    """What a command prints on another host, which may be a secret: it is in no log. Raises PyinfraError."""
    if _batches(other):
        is_done, printed = other.run_shell_command(StringCommand(command), **_ways(other))
    else:
        is_done, printed = _by_own_connection(other, command)
    if not is_done:
        raise PyinfraError(f"[{other.name}] could not be asked for what another host needs")
    return str(printed.stdout)


def _ask(host: Host, other: Host, fact: type[FactBase[T]], arguments: dict[str, Any]) -> T:
    if _batches(other):
        with _waiting_for(host, other):
            answer: T = other.get_fact(fact, **arguments)
            return answer
    it = fact()
    command: Any = it.command
    is_done, printed = _by_own_connection(other, command(**arguments))
    return it.process(printed.stdout_lines) if is_done and printed.stdout_lines else it.default()


@contextmanager
def _waiting_for(host: Host, other: Host) -> Iterator[None]:
    """Let the host's batch of questions go while the other's is waited for: each may wait for the other."""
    with _batches(host).elsewhere(), _batches(other).asking():
        yield


def _by_own_connection(other: Host, command: str) -> tuple[bool, CommandOutput]:
    connector: Any = type(other.connector)(other.state, other)
    connector.connect()
    try:
        done: tuple[bool, CommandOutput] = connector.run_shell_command(StringCommand(command), **_ways(other))
        return done
    finally:
        connector.disconnect()
        if client := getattr(connector, "client", None):
            client.close()


def _ways(other: Host) -> dict[str, Any]:
    """How commands are run on a host, by sudo say."""
    arguments, _ = pop_global_arguments(other.state, other, {})
    return {key: value for key, value in arguments.items() if key in CONNECTOR_ARGUMENT_KEYS}


def _batches(host: Host) -> Any:
    return getattr(host.connector, "batches", None)
