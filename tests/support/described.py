"""The server that deploy.py describes: its operations in order, without a host to run them."""

from __future__ import annotations

import importlib
import pkgutil
import runpy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pyinfra.context import ctx_host

from slipway import ops, tasks
from slipway.engine import run
from slipway.engine.run import Run
from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.settings.model import Settings

PROJECT = Path(__file__).resolve().parents[2]
ADDRESS = "198.51.100.7"
MACHINE = {
    "uid": "0",
    "init": "systemd",
    "os": "debian",
    "release": "12",
    "codename": "bookworm",
    "arch": "amd64",
    "avx": "yes",
    "memory_mb": "2048",
    **{f"disk:{folder}": "/ 20000" for folder in Machine.DISK_FOLDERS},
    "addresses": ADDRESS,
}


class FakeHost(SimpleNamespace):
    """A fresh host: every fact has its default, except those of the machine and of the address of its name."""

    def __init__(self, groups: tuple[str, ...], **machine: str) -> None:
        super().__init__(name="box", groups=[*groups], op_hash_order=[], current_op_hash=None, print_prefix="")
        self.state = SimpleNamespace()
        run.start(self.state, Run(collects_notes=True))
        # A run that reaches no other host.
        self.inventory = SimpleNamespace(get_host=lambda name: SimpleNamespace(connected=False))
        self.data, self.connector = SimpleNamespace(get=lambda name: None), SimpleNamespace(client=None)
        self.machine = {**MACHINE, "clock": str(int(time.time())), **machine}
        # Other answers, by the fact, or by a part of the command of Output.
        self.answers: dict[Any, Any] = {}

    def get_fact(self, fact: Any, **arguments: Any) -> Any:
        if fact in self.answers:
            return self.answers[fact]
        if fact is Machine:
            return self.machine
        if fact is Output:
            command = arguments["command"]
            known = {"getent ahosts": ADDRESS, **self.answers}
            return next((text for part, text in known.items() if isinstance(part, str) and part in command), "")
        return fact.default()


@dataclass(eq=False)
class Described:
    """One operation, as a task has called it."""

    operation: Any
    arguments: dict[str, Any]
    changed: bool = False
    _hash: str | None = None

    def did_change(self) -> bool:
        return self.changed

    @property
    def kind(self) -> str:
        return str(self.operation.__name__)

    @property
    def name(self) -> str:
        return str(self.arguments["name"])

    @property
    def subject(self) -> str:
        """Its file, folder or unit; for a task's own operation, the task's module."""
        found = (self.arguments[name] for name in ("path", "root", "unit") if name in self.arguments)
        return str(next(found, self.operation.__module__))

    @property
    def is_due(self) -> bool:
        """Whether pyinfra would run it, by its `_if`."""
        condition = self.arguments.get("_if", ())
        return all(one() for one in (condition if isinstance(condition, list | tuple) else [condition]))

    def commands(self) -> list[Any]:
        own = {name: value for name, value in self.arguments.items() if name != "name" and not name.startswith("_")}
        return list(self.operation(**own))


@dataclass
class Server:
    """All operations of a deploy, in order."""

    operations: list[Described] = field(default_factory=list)

    def all(self, kind: str) -> list[Described]:
        return [one for one in self.operations if one.kind == kind]

    def about(self, subject: str) -> Described:
        """The operation on a file, a folder or a unit that is not a reaction to another."""
        (found,) = [one for one in self.operations if one.subject == subject and one.kind not in ("restart", "service")]
        return found

    def reactions(self, *changed: str) -> set[tuple[str, str]]:
        """The reactions if exactly these subjects change: ("reload", "nginx.service")."""
        for one in self.operations:
            one.changed = one.subject in changed and one.kind not in ("restart", "service")
        due = [one for one in self.all("restart") if one.is_due]
        return {("reload" if one.arguments.get("reload") else "restart", one.subject) for one in due}


def _modules() -> list[ModuleType]:
    """The modules that call operations, all imported before one of them is changed."""
    return [
        importlib.import_module(module.name)
        for package in (ops, tasks)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]


@contextmanager
def described(
    settings: Settings, groups: tuple[str, ...] = ("web", "app", "db"), **machine: str
) -> Iterator[tuple[Server, FakeHost]]:
    """A server, empty until `deploy` describes it, and the host that answers facts within the block."""
    server, host = Server(), FakeHost(groups, **machine)

    def recorder(original: Any) -> Any:
        def record(**arguments: Any) -> Described:
            one = Described(original._inner, arguments)
            server.operations.append(one)
            return one

        return record

    before = ctx_host.get()
    with pytest.MonkeyPatch.context() as patch:
        for module in _modules():
            for name, value in [*vars(module).items()]:
                if hasattr(value, "_inner"):
                    patch.setattr(module, name, recorder(value))
        patch.setattr("slipway.settings.of_host.checked_settings", lambda host: settings)
        ctx_host.set(host)
        try:
            yield server, host
        finally:
            ctx_host.set(before)


def deploy(settings: Settings, *groups: str, **machine: str) -> Server:
    """What deploy.py describes of a fresh host."""
    with described(settings, groups or ("web", "app", "db"), **machine) as (server, _):
        run_deploy()
    return server


def run_deploy(file: Path = PROJECT / "deploy.py") -> None:
    runpy.run_path(str(file))


def commands_of(
    one: Described, groups: tuple[str, ...] = ("web", "app", "db"), answers: Mapping[Any, Any] | None = None
):
    """The commands of an operation on a fresh host that answers so."""
    host = FakeHost(groups)
    host.answers = dict(answers or {})
    before = ctx_host.get()
    ctx_host.set(host)
    try:
        return one.commands()
    finally:
        ctx_host.set(before)
