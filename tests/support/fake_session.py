"""A session of the command line whose plan is given, for tests without a host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from slipway.engine.errors import ApplyFailed, RunFailed
from slipway.engine.outcome import Change, Outcome
from slipway.engine.session import Session
from slipway.settings.model import Settings

CHANGES = [Change("one", "Configure Nginx", ["mode 600 -> 644"], component="nginx")]
DOWN = {"two": "[two] Could not connect"}


class FakeSession:
    """A session whose plan is given. What is asked of it is written down."""

    outcome = Outcome([], [], 9, 1.0)
    error: RunFailed | None = None
    environment, deploy = "lab", "deploy.py"
    settings: ClassVar[dict[str, Settings]] = {}

    def __init__(self, *arguments):
        self.arguments = arguments
        self.failures = self.outcome.failures
        type(self).last = self
        self.said: list[str] = []

    def begin_connecting(self):
        pass

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
        if self.failures:
            raise ApplyFailed(self.outcome)
        return self.outcome

    def carry_out(self, verb, script):
        self.said += [f"{host.name}: {verb}: {script(host)}" for host in self.hosts()]

    def record_nothing(self, seconds):
        self.said.append("noted")

    def hosts(self):
        return [SimpleNamespace(name=name) for name in self.roles()]

    active_hosts = hosts
    report = Session.report

    def roles(self):
        return {"one": ["web"], "two": ["db"]}

    def operations(self):
        return []
