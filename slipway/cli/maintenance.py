"""`slipway maintenance`."""

from __future__ import annotations

import shlex

import click
from pyinfra.api.host import Host

from slipway.cli.options import examples, of_site, on_hosts, pass_console
from slipway.cli.running import connected, names_of
from slipway.engine.session import Session
from slipway.ui.console import Console


@click.command(epilog=examples("slipway maintenance on", "slipway maintenance off", "slipway maintenance on lab"))
@click.argument("state", type=click.Choice(["on", "off"]))
@on_hosts
@of_site
@pass_console
def maintenance(
    console: Console, state: str, environment: str, limit: tuple[str, ...], data: tuple[str, ...], site: str
) -> None:
    """Serve a 503 maintenance page, or the site again. Takes effect immediately."""
    session = Session(environment, "", limit or ("web",), [*data, f"release_site={site}"])

    def switch(host: Host) -> str:
        flag = f"{session.connections.settings[host.name].released.site_root}/maintenance"
        return f"{'touch' if state == 'on' else 'rm -f'} {shlex.quote(flag)}"

    with connected(session, console):
        session.executor.carry_out(f"maintenance {state}", switch)
        console.say(f"{names_of(session)}: maintenance is {state}")
