"""Drives pyinfra: connections to the hosts, the plan, and the apply."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.engine import pyinfra_compat  # noqa: F401  patches first
from slipway.engine.connections import Connections
from slipway.engine.errors import RunFailed
from slipway.engine.executor import Executor
from slipway.engine.outcome import Outcome, Progress
from slipway.engine.planner import Planner
from slipway.engine.preload import known_components
from slipway.engine.run import Run


class Session:
    """One run over the hosts of an environment.

    with Session("lab", "deploy.py") as session:
        if session.plan().changes:
            session.apply(print)
    """

    def __init__(
        self,
        environment: str,
        deploy: str,
        limit: Iterable[str] = (),
        items: Iterable[str] = (),
        only: Iterable[str] = (),
    ) -> None:
        """`items` are NAME=VALUE settings that override all others; `only` are components. Raises SettingsError,
        RunFailed."""
        self.run = Run(collects_notes=True)
        self.connections = Connections(environment, deploy, limit, items, self.run)
        self.run.components = _chosen([name for names in only for name in names.split(",") if name])
        self.planner = Planner(self.connections)
        self.executor = Executor(self.planner)

    def __enter__(self) -> Session:
        self.connections.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.connections.__exit__(*exception)

    def plan(self) -> Outcome:
        """Compare the hosts with their desired state; changes nothing."""
        return self.planner.plan()

    def apply(self, tell: Progress) -> Outcome:
        """Carry out the plan; call it after `plan`. Raises ApplyFailed."""
        return self.executor.apply(tell)


def _chosen(only: list[str]) -> frozenset[str]:
    """The components of --only. Raises RunFailed for an unknown one."""
    if only:
        known = known_components()
        unknown = [name for name in only if name not in known]
        if unknown:
            there = ", ".join(known)
            raise RunFailed(f"--only {','.join(only)}: found no component {', '.join(unknown)}; there are: {there}")
    return frozenset(only)
