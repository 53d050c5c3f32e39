"""The plan: all operations are evaluated concurrently, so that their queries to a host are sent in one batch
(slipway/engine/batching.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext

import gevent

from slipway.engine import pyinfra_compat  # isort: skip  patches first

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage

from slipway.engine.components import OTHER
from slipway.engine.connections import Connections
from slipway.engine.connector import Connector, HostFailed
from slipway.engine.deployed import DEPLOY, NO_COMPONENTS
from slipway.engine.errors import failing, in_words
from slipway.engine.notes import Note
from slipway.engine.outcome import Change, Outcome


class Planner:
    """Compares hosts with their desired state."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.state, self.run = connections.state, connections.run
        # The hosts of the last plan.
        self._planned: list[Host] = []

    def plan(self) -> Outcome:
        """Compare the hosts with what they should be; nothing is changed."""
        hosts = self.connections
        began = time.monotonic()
        with failing(hosts.log), in_words(), pyinfra_compat.expected_changes() as found:
            self.state.set_stage(StateStage.Prepare)
            self.state.current_deploy_filename = str(hosts.project / hosts.deploy)
            planning = {host: gevent.spawn(self._evaluate, host) for host in hosts.active_hosts()}
            is_blocked = False
            for host, greenlet in planning.items():
                try:
                    greenlet.get()
                except HostFailed as error:
                    hosts.fail(host, str(error))
                except PyinfraError as error:
                    hosts.failures[host.name] = str(error)
                    is_blocked = True
                else:
                    # pyinfra drops a host at which a fact fails, and continues.
                    if host in self.state.failed_hosts:
                        hosts.fail(host, f"[{host.name}] could not be compared")
            if is_blocked or not hosts.active_hosts():
                # The next plan logs in as this one did.
                hosts.remember_questions()
                # One that is of no host alone is told once.
                raise PyinfraError("\n".join(dict.fromkeys(hosts.failures.values())))
            changes = list(self._expected(found))
            self._planned = hosts.active_hosts()
        hosts.remember_questions()
        return self.outcome(changes, began)

    def _evaluate(self, host: Host) -> None:
        """Run the deploy file for a host, then evaluate its operations concurrently, each up to its first command."""
        with ExitStack() as stack:
            with _asking(host), pyinfra_compat.using(self.state, host):
                try:
                    pyinfra_compat.exec_file(str(self.connections.project / self.connections.deploy))
                except pyinfra_compat.UnexpectedExternalError as error:
                    # The deploy file may ask the connection itself, which is no mistake of its own.
                    if isinstance(error.exception, SSHException):
                        raise HostFailed(f"[{host.name}] {error.exception}") from error
                    raise
            if self.connections.deploy == DEPLOY and not self.run.deployed:
                raise PyinfraError(NO_COMPONENTS)
            # No batch is sent before the last of them has begun.
            stack.enter_context(_asking(host))
            evaluating = [gevent.spawn(self._evaluate_one, host, op_hash) for op_hash in host.op_hash_order]
            gevent.sleep(0)
            stack.close()
            gevent.joinall(evaluating)
        for greenlet in evaluating:
            greenlet.get()

    def _evaluate_one(self, host: Host, op_hash: str) -> None:
        with _asking(host):
            pyinfra_compat.evaluate(self.state, host, op_hash)

    def _expected(self, found: list[str]) -> Iterator[Change]:
        """The pending operations, with reactions only if what they react to is pending: these are added to `found`."""
        for op_hash in self.state.get_op_order():
            for host in self.connections.active_hosts():
                operation = self.state.ops[host].get(op_hash)
                if operation is None or not operation.operation_meta._maybe_is_change:
                    continue
                condition = operation.global_arguments.get("_if")
                if condition:
                    found.clear()
                    with pyinfra_compat.using(self.state, host):
                        conditions = condition if isinstance(condition, list) else [condition]
                        if not all(one() for one in conditions):
                            operation.operation_meta._maybe_is_change = False
                            continue
                    causes = "; ".join(map(self.name_of, dict.fromkeys(found)))
                    self.run.notes.setdefault((host.name, op_hash), []).append(Note(f"follows: {causes}"))
                yield self.change(host, op_hash)

    def change(self, host: Host, op_hash: str) -> Change:
        """A pending operation with its notes."""
        notes = list(dict.fromkeys(self.run.notes.get((host.name, op_hash), [])))
        is_reaction = bool(self.state.ops[host][op_hash].global_arguments.get("_if"))
        component = self.run.component_of.get((host.name, op_hash), OTHER)
        return Change(host.name, self.name_of(op_hash), notes, is_reaction, component)

    def outcome(self, changes: list[Change], began: float) -> Outcome:
        """The outcome since `began`, by the monotonic clock."""
        operations = sum(len(self.state.ops[host]) for host in self._planned)
        said = [
            (host, note.text) for (host, op_hash), notes in self.run.notes.items() if op_hash is None for note in notes
        ]
        skipped = list(dict.fromkeys([*self.connections.skipped, *said]))
        return Outcome(changes, skipped, operations, time.monotonic() - began, dict(self.connections.failures))

    def operations(self) -> list[tuple[str, str]]:
        """All operations of a plan, in order: host, name."""
        order, hosts = self.state.get_op_order(), self.connections.hosts()
        return [(host.name, self.name_of(one)) for one in order for host in hosts if one in self.state.ops[host]]

    def name_of(self, op_hash: str) -> str:
        """The name of an operation."""
        return ", ".join(sorted(self.state.op_meta[op_hash].names))


def _asking(host: Host) -> AbstractContextManager[None]:
    return host.connector.batches.asking() if isinstance(host.connector, Connector) else nullcontext()
