"""`slipway rollback`."""

from __future__ import annotations

import click

from slipway.cli.options import examples, hosts_options, of_site, partial, pass_console
from slipway.cli.running import carry_out, confirmed, plan_report, planned
from slipway.engine.session import Session
from slipway.project import INVENTORIES
from slipway.ui.console import Console


@click.command(
    epilog=examples(
        "slipway rollback", "slipway rollback 20261126031500-0c890ac", "slipway rollback lab --yes", "slipway releases"
    )
)
@hosts_options
@of_site
@click.argument("words", metavar="[ENV] [ID]", nargs=-1)
@partial
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def rollback(
    console: Console,
    words: tuple[str, ...],
    limit: tuple[str, ...],
    data: tuple[str, ...],
    site: str,
    partial: bool,
    yes: bool,
) -> None:
    """Activate the previous release, or the release ID, without downtime."""
    environment, rest = (words[0], words[1:]) if words and words[0] in INVENTORIES else ("production", words)
    if len(rest) > 1 or "" in rest:
        raise click.UsageError(f"found {' '.join(rest) or 'nothing'}, expected the id of one release")
    items = [*data, f"release_site={site}", *(f"release_id={name}" for name in rest)]
    items += ["release_partial=true"] if partial else []
    session = Session(environment, "rollback.py", limit, items)
    with planned(session, console) as outcome:
        if console.level >= 0 or not yes:
            console.plan(plan_report(session, outcome), session)
        if yes or confirmed():
            carry_out(session, console)
