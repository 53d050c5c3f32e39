"""`slipway plan`."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING

import click

from slipway.cli.options import examples, on_hosts, only_some, pass_console, report_to
from slipway.cli.running import IN_SYNC, PENDING, end_with_failures, plan_report, planned
from slipway.engine.errors import RunFailed
from slipway.engine.outcome import Outcome
from slipway.engine.session import Session
from slipway.ui.console import Console

if TYPE_CHECKING:
    from slipway.ui.plan_report import PlanReport


@click.command(
    epilog=examples(
        "slipway plan",
        "slipway plan --only nginx,tls --limit web",
        "slipway plan --json plan.json --html plan.html",
        "slipway plan --json - | jq .totals.changes",
        "slipway plan --quiet || echo drift or error",
    )
)
@on_hosts
@only_some
@report_to("json", "the plan as JSON (docs/plan.schema.json)")
@report_to("html", "the plan as an HTML page")
@pass_console
def plan(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    only: tuple[str, ...],
    json_file: IO[str] | None,
    html_file: IO[str] | None,
) -> None:
    """Show the pending changes and apply none. Exit code: 0 in sync, 2 changes pending, 1 error."""
    session = Session(environment, "deploy.py", limit, data, only)
    try:
        with planned(session, console) as outcome:
            pass
    except RunFailed:
        if session.connections.failures:
            failed = Outcome([], [], 0, 0.0, session.connections.failures)
            write_reports(plan_report(session, failed), json_file, html_file)
        raise
    report = plan_report(session, outcome)
    write_reports(report, json_file, html_file)
    if console.level >= 0:
        console.plan(report, session)
    end_with_failures(outcome.failures)
    sys.exit(PENDING if outcome.changes else IN_SYNC)


def write_reports(report: PlanReport, json_file: IO[str] | None, html_file: IO[str] | None) -> None:
    from slipway.ui.plan_report import as_html, as_json

    if json_file:
        json_file.write(as_json(report))
    if html_file:
        html_file.write(as_html(report))
