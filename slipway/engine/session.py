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
from slipway.settings.check import SettingsError


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
        chosen = [name.strip() for names in only for name in names.split(",")]
        wrong = _problems(chosen)
        try:
            self.connections = Connections(environment, deploy, limit, items, self.run)
        except SettingsError as error:
            raise SettingsError([*error.problems, *wrong]) from None
        if wrong:
            raise RunFailed("\n".join(wrong))
        self.run.components = frozenset(chosen)
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


def _problems(only: list[str]) -> list[str]:
    """What is wrong with the components of --only. A script's empty variable would stand for all of them. Raises
    RunFailed where nobody knows which there are."""
    known = known_components() if only else []
    there, found = ", ".join(known), []
    if "" in only:
        found.append(f"--only {','.join(only)!r}: found an empty name, expected components; there are: {there}")
    if unknown := [name for name in only if name and name not in known]:
        found.append(f"--only {','.join(only)}: found no component {', '.join(unknown)}; there are: {there}")
    return found
