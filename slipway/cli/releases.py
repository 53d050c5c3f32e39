"""`slipway releases`."""

from __future__ import annotations

import click

from slipway.cli.options import examples, of_site, on_hosts, pass_console
from slipway.cli.running import connected, end_with_failures, names_of
from slipway.engine.session import Session
from slipway.ui.console import Console, escape, plain


@click.command(epilog=examples("slipway releases", "slipway releases lab --limit web"))
@on_hosts
@of_site
@pass_console
def releases(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], site: str) -> None:
    """List the releases on the hosts, newest first; `slipway rollback` can activate each."""
    from slipway.releases.listing import difference, releases_of, rows

    session = Session(environment, "", limit, [*data, f"release_site={site}"])
    with connected(session, console), console.doing(f"Asking {names_of(session)}"):
        found = releases_of(session.connections)
    for name, roles in session.connections.roles().items():
        if name in found and roles != ["lb"]:
            console.host(name, roles)
            for mark, line in rows(found[name]):
                console.say(escape(plain(line)), f"  {mark:<8} ")
    behind = {
        name: found[name] for name, its in session.connections.settings.items() if its.is_behind and name in found
    }
    if said := difference(behind):
        console.say(escape(said), "  ")
    end_with_failures(session.connections.failures)
