"""A server, as deploy.py describes it: by the names of its components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pyinfra import host

from slipway.engine import run
from slipway.engine.components import Component, Step, in_order, registry, steps
from slipway.engine.deployed import FIXED, load
from slipway.settings import of_host
from slipway.settings.model import Settings
from slipway.tasks.adoption import adopt, finish
from slipway.tasks.packages import packages
from slipway.tasks.preflight import preflight


def server(*names: str) -> None:
    """Bring the host at hand to what these components make of it, in this order, each where the host has its role.

    Each name is that of a module of tasks. Raises PyinfraError, before anything changes, where there is no such
    component or where the host cannot be provisioned.
    """
    settings = of_host.checked_settings(host)
    components = load(names)
    run.of(host.state).deployed = frozenset(names)
    preflight(settings, components)
    describe(settings, components)


def describe(settings: Settings, components: Sequence[Component]) -> None:
    """What `server` does with a host that can be provisioned."""
    adopt(settings)
    packages(settings, components)
    in_order(_calls(components, settings))
    if "auditing" not in {one.name for one in components}:
        finish(settings)


def _calls(components: Sequence[Component], settings: Settings) -> list[Callable[[], None]]:
    """What is done of and around each component: the same calls on each host, as `in_order` wants it."""
    calls: list[Callable[[], None]] = []
    named = [*FIXED, *(one.name for one in components)]
    due = [step for step in steps if step.component in named]
    for one in components:
        calls += [partial(_take, step, settings) for step in due if step.before == one.name]
        calls.append(partial(_perform, one, settings))
        calls += [partial(_take, step, settings) for step in due if _predecessor(step, named) == one.name]
    return calls


def _predecessor(step: Step, named: Sequence[str]) -> str:
    """The component that a step follows; "" for one that comes before another."""
    return step.after if step.after in named else "" if step.before in named else step.component


def _perform(one: Component, settings: Settings) -> None:
    if one.has_role(host.groups):
        in_order([partial(one.task, its) for its in one.sites(settings)])


def _take(step: Step, settings: Settings) -> None:
    both = (registry[name] for name in (step.component, step.before or step.after) if name in registry)
    if all(one.has_role(host.groups) for one in both):
        step.task(settings)
