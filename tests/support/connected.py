"""Hosts connected to a local `sh` by Slipway's own connector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import gevent
import pytest
from pyinfra import host as current_host
from pyinfra.api import Config, Inventory, State, StringCommand, operation
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage

from slipway.engine import run
from slipway.engine.connector import Connector
from slipway.engine.remote_shell import Question
from slipway.engine.run import Run
from slipway.facts.base import Fact

Hosts = Callable[..., list[Host]]


class Shown(Fact[str]):
    """The output of a command."""

    def command(self, command: str) -> str:
        return command

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


@contextmanager
def connected_hosts(sshd: Any) -> Iterator[Hosts]:
    """Connects hosts of one pyinfra state by our connector for the duration of the block."""
    states = []
    pyinfra_compat.prepare()

    def make(*names: str, **options: Any) -> list[Host]:
        server = sshd.start(**options)
        inventory = Inventory(([(name, dict(server)) for name in names], {}))
        for host in inventory:
            host.connector_cls = Connector
        config = Config()
        state = State(inventory, config, check_for_changes=False)
        pyinfra_compat.ctx_state.set(state)
        pyinfra_compat.ctx_config.set(config)
        pyinfra_compat.ctx_inventory.set(inventory)
        state.set_stage(StateStage.Connect)
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        states.append(state)
        run.start(state, Run(collects_notes=True))
        return list(inventory)

    yield make
    for state in states:
        disconnect_all(state)


def evaluate(host: Host, *described: Callable[[], OperationMeta]) -> list[bool]:
    """Describe operations and evaluate them side by side; returns which would change something."""
    with pyinfra_compat.using(host.state, host):
        operations = [describe() for describe in described]

    def one(meta: OperationMeta) -> None:
        with host.connector.batches.asking():
            pyinfra_compat.evaluate(host.state, host, meta._hash)

    with host.connector.batches.asking():
        running = [gevent.spawn(one, meta) for meta in operations]
        gevent.sleep(0)
    gevent.joinall(running, raise_error=True, timeout=30)
    return [bool(meta._maybe_is_change) for meta in operations]


def execute(host: Host, describe: Callable[[], OperationMeta]) -> bool:
    """Describe one operation and run it."""
    with pyinfra_compat.using(host.state, host):
        meta = describe()
        host.state.current_stage, host.state.is_executing = StateStage.Execute, True
        done = run_host_op(host.state, host, meta._hash)
    host.state.current_stage, host.state.is_executing = StateStage.Prepare, False
    return bool(done)


class Counted:
    """Records the commands of each batch, and those that ran individually."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[str]] = []
        self.live: list[str] = []
        ask, run = host.connector._ask_shell, host.connector._run

        def counted_ask(questions: list[Question], *tell: Any) -> Any:
            self.batches.append([question.command for question in questions])
            return ask(questions, *tell)

        def counted_run(command: StringCommand, arguments: dict[str, Any]) -> Any:
            self.live.append(command.get_raw_value())
            return run(command, arguments)

        monkeypatch.setattr(host.connector, "_ask_shell", counted_ask)
        monkeypatch.setattr(host.connector, "_run", counted_run)


@operation()
def look(seen: list[Any], what: Callable[[], Any]) -> Any:
    """Yields to the other greenlets between two looks."""
    first = what()
    current_host.get_fact(Shown, command=f"echo {len(seen)}-{id(what)}")
    seen.append((first, what()))
    yield from ()


@operation()
def change(command: str) -> Any:
    yield command
