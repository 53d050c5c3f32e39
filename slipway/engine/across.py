"""Facts of other hosts of a run, asked while the tasks of one host describe it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar

from pyinfra.api import FactBase, Host
from pyinfra.api.exceptions import PyinfraError

T = TypeVar("T")


def of_run(host: Host, names: Iterable[str]) -> list[Host]:
    """Those of the named hosts that this run reaches, `host` among them: of the others nothing can be known."""
    state = host.state
    hosts = [host.inventory.get_host(name) for name in names]
    return [one for one in hosts if one.connected and one not in state.failed_hosts and state.is_host_in_limit(one)]


Question = Callable[[Host], tuple[type[FactBase[T]], dict[str, Any]]]


def facts(host: Host, names: Iterable[str], question: Question[T]) -> dict[str, T]:
    """A fact of each named host that the run reaches, given with its arguments, by the host's name."""
    found: dict[str, T] = {}
    for other in of_run(host, names):
        fact, arguments = question(other)
        try:
            with ExitStack() as stack:
                if other is not host:
                    _wait_for(stack, host, other)
                found[other.name] = other.get_fact(fact, **arguments)
        except PyinfraError:
            # It tells by itself.
            if other is host:
                raise
    return found


def _wait_for(stack: ExitStack, host: Host, other: Host) -> None:
    """Let the host's batch of questions go while the other's is waited for: each may wait for the other."""
    batches = [getattr(one.connector, "batches", None) for one in (host, other)]
    if batches[0] and batches[1]:
        stack.enter_context(batches[0].elsewhere())
        stack.enter_context(batches[1].asking())
