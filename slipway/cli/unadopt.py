"""`slipway unadopt`."""

from __future__ import annotations

import click

from slipway.cli.options import examples, on_hosts, pass_console
from slipway.cli.running import confirmed, connected, names_of
from slipway.engine.session import Session
from slipway.tasks.unadopt import script
from slipway.ui.console import Console


@click.command(
    epilog=examples("slipway unadopt", "slipway unadopt --limit shop.example.com", "slipway unadopt lab --yes")
)
@on_hosts
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def unadopt(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], yes: bool) -> None:
    """Put back what was on a server before Slipway adopted it: the backend's unit, Nginx, MongoDB's configuration,
    renewals, apt's sources, sshd and the firewall. Data and packages stay."""
    session = Session(environment, "", limit, data)
    with connected(session, console):
        settings = session.connections.settings
        click.echo(f"{names_of(session)}: what was there before the adoption is put back; data and packages stay")
        if yes or confirmed():
            session.executor.carry_out("unadopt", lambda host: script(settings[host.name]))
            console.say(f"{names_of(session)}: as before the adoption; what Slipway made is in /var/backups/slipway")
