"""`slipway apply`."""

from __future__ import annotations

import click

from slipway.cli.options import examples, on_hosts, only_some, pass_console
from slipway.cli.running import carry_out, confirmed, end_with_failures, plan_report, planned
from slipway.engine.session import Session
from slipway.ui.console import Console


@click.command(
    epilog=examples(
        "slipway apply",
        "slipway apply lab --yes",
        "slipway apply --only nginx --limit web",
        "slipway apply --data swap_mb=512",
    )
)
@on_hosts
@only_some
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def apply(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], only: tuple[str, ...], yes: bool
) -> None:
    """Show the plan, ask for confirmation, and apply it."""
    session = Session(environment, "deploy.py", limit, data, only)
    with planned(session, console) as outcome:
        # Nobody confirms what they have not seen.
        if console.level >= 0 or (outcome.changes and not yes):
            console.plan(plan_report(session, outcome), session)
        if not outcome.changes:
            session.executor.record_nothing(outcome.seconds)
        elif yes or confirmed():
            carry_out(session, console)
            return
        end_with_failures(outcome.failures)
