"""`slipway status`."""

from __future__ import annotations

from typing import IO

import click

from slipway.cli.options import examples, on_hosts, pass_console, report_to
from slipway.cli.running import connected, end_with_failures, names_of
from slipway.engine.session import Session
from slipway.ui.console import Console


@click.command("status", epilog=examples("slipway status", "slipway status lab --json -", "slipway status --limit db"))
@on_hosts
@report_to("json", "the status as JSON")
@pass_console
def status_command(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], json_file: IO[str] | None
) -> None:
    """Show services, versions, certificate, disk space, last release and last apply of the hosts. Read-only."""
    from slipway.ui.status import rows, status

    session = Session(environment, "", limit, data)
    with connected(session, console), console.doing(f"Asking {names_of(session)}"):
        report = status(session)
    if json_file:
        json_file.write(report.model_dump_json(indent=2) + "\n")
    if console.level >= 0:
        for host in report.hosts:
            console.host(host.name, host.roles)
            for label, text in rows(host, report.when) if host.failure is None else [("failed", "could not be asked")]:
                console.say(text, f"  {label:<12}")
    end_with_failures(session.connections.failures)
