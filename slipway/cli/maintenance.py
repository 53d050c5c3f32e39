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
    items = [*data, f"release_site={site}"]
    session = Session(environment, "", limit or ("web",), items)
    if not limit and any(one.peers_with("lb") for one in session.connections.settings.values()):
        # It answers for a server that comes back meanwhile, and its alarms are silent.
        session = Session(environment, "", ("web", "lb"), items)

    def switch(host: Host) -> str:
        settings = session.connections.settings[host.name].released
        root, flag = shlex.quote(settings.site_root), shlex.quote(f"{settings.site_root}/maintenance")
        if state == "off":
            return f"rm -f {flag}"
        # A load balancer has no folder of the site, which its Nginx must be able to enter.
        return f"install -d -m 755 {root} && touch {flag}" if settings.is_balancer else f"touch {flag}"

    with connected(session, console):
        session.executor.carry_out(f"maintenance {state}", switch)
        console.say(f"{names_of(session)}: maintenance is {state}")
