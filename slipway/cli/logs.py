"""`slipway logs`."""

from __future__ import annotations

import shlex

import click
from pyinfra.api.host import Host

from slipway.cli.by_ssh import follow
from slipway.cli.options import examples, of_site, on_hosts, pass_console
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.settings.model import Settings
from slipway.ui.console import Console

# What writes files of its own beside the journal.
FILES = {"nginx": "/var/log/nginx/access.log /var/log/nginx/error.log", "mongod": "/var/log/mongodb/mongod.log"}
ROLES = {"nginx": "web", "mongod": "db"}


@click.command(
    epilog=examples(
        "slipway logs",
        "slipway logs --service worker --follow",
        "slipway logs --service nginx",
        "slipway logs --since -1h",
    )
)
@on_hosts
@click.option("--service", default="backend", help="One of the site's services, nginx, mongod, or a unit of systemd.")
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--since", default="", metavar="TIME", help='From when on, as journalctl takes it: -1h, "2026-11-29 15:00".'
)
@click.option("-n", "--lines", default=100, show_default=True, help="How many lines, without --since.")
@of_site
@pass_console
def logs(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    service: str,
    follows: bool,
    since: str,
    lines: int,
    site: str,
) -> None:
    """Print the log of a service, of several hosts with their names."""
    if since and service in FILES:
        raise RunFailed(f"--since: {service} writes files of its own; use --lines")
    session = Session(environment, "", limit or (ROLES.get(service, "app"),), [*data, f"release_site={site}"])

    def script(host: Host) -> str:
        return log_script(session.connections.settings[host.name].released, service, follows, since, lines)

    follow(session, console, {host.name: script(host) for host in session.connections.hosts()})


def log_script(settings: Settings, service: str, follows: bool, since: str, lines: int) -> str:
    """A command that prints a log."""
    if service in FILES:
        return f"exec tail -q -n {lines}{' -F' if follows else ''} {FILES[service]}"
    own = {one.name: settings.unit(one) for one in settings.all_services}
    words = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--unit={own.get(service, service)}"]
    words += [f"--since={since}"] if since else [f"--lines={lines}"]
    words += ["--follow"] if follows else []
    return f"exec {shlex.join(words)}"
