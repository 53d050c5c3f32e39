"""The plan of a host without a project, with the settings that describe what is there. A plan stops at each operation's
first command, so nothing is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace

from pyinfra import host

from slipway import deploy
from slipway.engine.components import Component
from slipway.engine.deployed import load, named_in
from slipway.engine.errors import RunFailed
from slipway.engine.notes import Diff
from slipway.engine.one_host import OneHost
from slipway.engine.outcome import Change
from slipway.engine.planner import Planner
from slipway.facts.machine import Machine
from slipway.project import PACKAGE
from slipway.settings import limits
from slipway.settings.model import Settings
from slipway.settings.of_host import CHECKED, checked_settings
from slipway.tasks import mongodb_packages, preflight

DEPLOY, NEW_PROJECT = PACKAGE / "inspection/deploy.py", PACKAGE / "starter/files/deploy.py"


@dataclass(frozen=True)
class Step:
    """An operation that would change something: its notes, and the files whose contents it would change."""

    component: str
    operation: str
    lines: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    diffs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    steps: list[Step] = field(default_factory=list)
    # Why preflight, or a component, refuses the apply before any change.
    refusals: list[str] = field(default_factory=list)
    # False if the plan failed: the steps are unknown.
    is_known: bool = True

    def touching(self, *paths: str) -> Iterator[tuple[Step, str]]:
        """The steps that would change one of the paths, each with its line about it ("" for a diff)."""
        for step in self.steps:
            for path in paths:
                said = next((line for line in step.lines if re.match(rf"{re.escape(path)}(:| ->|$)", line)), None)
                if said is not None or path in step.files:
                    yield step, said or ""
                    break

    def step(self, operation: str) -> Step | None:
        """The first step whose operation's name begins with `operation`."""
        return next((step for step in self.steps if step.operation.startswith(operation)), None)

    def about(self, *signs: str) -> str:
        """The refusals that begin with one of `signs`, as one text."""
        return "; ".join(text for text in self.refusals if any(one.startswith(signs) for one in _of_each_port(text)))


def _of_each_port(text: str) -> list[str]:
    """A refusal, by each of the ports that it is about: "ports 25, 143: ..."."""
    ports, _, rest = text.removeprefix("ports ").partition(":")
    return [f"port {port}:{rest}" for port in ports.split(", ")] if text.startswith("ports ") else [text]


def plan_of(one: OneHost, settings: Settings, has_site: bool) -> Plan:
    """The plan of a connected host. Raises RunFailed if the connection is lost."""
    setattr(one.state, CHECKED, {one.host.name: settings})
    components = load(named_in(NEW_PROJECT))
    one.run.deployed = frozenset(component.name for component in components)
    asked = [_asked(component, has_site) for component in components]
    refusals: list[str] = one.together({"": lambda: preflight.blockers(settings, asked)})[""]
    one.project, one.deploy = DEPLOY.parent, DEPLOY.name
    try:
        with impatient():
            changes = Planner(one).plan().changes
    except RunFailed as error:
        return Plan(refusals=[*refusals, *problems_in(str(error))], is_known=False)
    return Plan([*steps_of(changes)], refusals)


def describe_server() -> None:
    """For slipway/inspection/deploy.py: the server of a new project, without its preflight."""
    deploy.describe(checked_settings(host), load(named_in(NEW_PROJECT)))


def _asked(component: Component, has_site: bool) -> Component:
    """A component, whose preflight leaves out what needs a project, or writes on the host."""
    its = copy(component)
    if component.name == "mongodb":
        # The query of its repository would write a temporary file.
        its.preflight = lambda settings: mongodb_packages.series_problems(host.get_fact(Machine), settings)
    elif component.name == "backend" or (component.name == "tls" and not has_site):
        # The project's dependencies; the site's name.
        its.preflight = lambda settings: ()
    return its


@contextmanager
def impatient() -> Iterator[None]:
    """Within the block, do not wait for an unhealthy backend: one without Slipway's health path counts as such."""
    shipped = limits.SHIPPED
    limits.SHIPPED = replace(shipped, patience=1)
    try:
        yield
    finally:
        limits.SHIPPED = shipped


def problems_in(text: str) -> list[str]:
    """The problems that an error lists, or its text."""
    return re.findall(r"^\s*- (.+)$", text, re.MULTILINE) or [" ".join(text.split())]


def steps_of(changes: Iterable[Change]) -> Iterator[Step]:
    for change in changes:
        diffs = [note.text for note in change.notes if isinstance(note, Diff)]
        lines = [line for note in change.notes if not isinstance(note, Diff) for line in note.text.split("\n")]
        files = [text.split("\n")[0].removeprefix("--- ") for text in diffs]
        yield Step(change.component, change.operation, (*lines,), (*files,), (*diffs,))
