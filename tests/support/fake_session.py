"""A session of the command line with a given plan, for tests without a host."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import ClassVar

from slipway.engine.errors import ApplyFailed, RunFailed
from slipway.engine.notes import Note
from slipway.engine.outcome import Change, Outcome
from slipway.settings.model import Settings

CHANGES = [Change("one", "Configure Nginx", [Note("mode 600 -> 644")], component="nginx")]
DOWN = {"two": "[two] Could not connect"}


class FakeSession:
    """A session with a given plan. It records its calls."""

    outcome = Outcome([], [], 9, 1.0)
    error: RunFailed | None = None
    settings: ClassVar[dict[str, Settings]] = {}
    warnings: ClassVar[list[str]] = []
    roles: ClassVar[dict[str, list[str]]] = {"one": ["web"], "two": ["db"]}

    def __init__(self, *arguments):
        self.arguments = arguments
        type(self).last = self
        self.said: list[str] = []
        hosts = [SimpleNamespace(name=name) for name in self.roles]
        self.connections = SimpleNamespace(
            environment="lab",
            deploy="deploy.py",
            settings=self.settings,
            failures=self.outcome.failures,
            warnings=self.warnings,
            begin=lambda: None,
            hosts=lambda: hosts,
            active_hosts=lambda: hosts,
            roles=lambda: self.roles,
        )
        self.planner = SimpleNamespace(operations=list)
        self.executor = SimpleNamespace(
            carry_out=self.carry_out, locked=self.locked, record_nothing=lambda seconds: self.said.append("noted")
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def plan(self):
        if self.error:
            raise self.error
        return self.outcome

    def apply(self, tell):
        self.said.append("applied")
        if self.outcome.failures:
            raise ApplyFailed(self.outcome)
        return self.outcome

    def carry_out(self, verb, script):
        self.said += [f"{host.name}: {verb}: {script(host)}" for host in self.connections.hosts()]

    @contextmanager
    def locked(self, verb):
        self.said.append(f"{verb}: locked")
        yield []
        self.said.append(f"{verb}: unlocked")
