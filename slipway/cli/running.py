"""A run of a verb: hosts that are connected, a plan of them, and what comes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from slipway.engine.errors import ApplyFailed, RunFailed
from slipway.engine.outcome import Outcome
from slipway.engine.session import Session
from slipway.ui.console import Applying, Console

if TYPE_CHECKING:
    from slipway.ui.plan_report import PlanReport

IN_SYNC, ERROR, PENDING = 0, 1, 2


def warn(session: Session, console: Console) -> None:
    """Print what should be changed in the settings."""
    if console.level >= 0:
        for line in session.connections.warnings:
            click.echo(f"slipway: warning: {line}", err=True)


@contextmanager
def connected(session: Session, console: Console) -> Iterator[None]:
    """Connect the hosts of a session for the time of the block."""
    session.connections.begin()
    warn(session, console)
    with ExitStack() as stack:
        with console.doing(f"Connecting to {names_of(session)}"):
            stack.enter_context(session)
        yield


@contextmanager
def planned(session: Session, console: Console) -> Iterator[Outcome]:
    """The plan of a session, whose hosts are connected for the time of the block."""
    with connected(session, console):
        with console.doing(f"Comparing {names_of(session)} with {session.connections.deploy}"):
            outcome = session.plan()
        yield outcome


def plan_report(session: Session, outcome: Outcome) -> PlanReport:
    """What a plan found, for programs and to read."""
    from slipway.ui.plan_report import report_of

    return report_of(session.connections.environment, session.connections.roles(), outcome)


def names_of(session: Session) -> str:
    return ", ".join(host.name for host in session.connections.hosts())


def carry_out(session: Session, console: Console) -> None:
    """Apply what was planned, and say what it came to."""
    try:
        with Applying(console, session) as applying:
            outcome = session.apply(applying.tell)
    except ApplyFailed as failed:
        console.done(failed.outcome)
        raise
    console.done(outcome)


def end_with_failures(failures: dict[str, str]) -> None:
    """Raises RunFailed where a host has failed."""
    if failures:
        raise RunFailed("\n".join(failures.values()))


def confirmed() -> bool:
    """Ask the user; without a terminal there is nobody to ask, and --yes must say it."""
    if not sys.stdin.isatty():
        raise RunFailed("nothing was changed: not on a terminal, so confirm with --yes")
    return click.confirm("Continue?", default=False)
