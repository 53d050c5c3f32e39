"""`slipway logs`."""

from __future__ import annotations

import shlex

import click
from pyinfra.api.host import Host

from slipway.cli.by_ssh import follow
from slipway.cli.options import examples, of_site, on_hosts, pass_console
from slipway.cli.types import JournalTime, Regex
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.settings.model import Settings
from slipway.tasks.nginx import REQUESTS_LOG
from slipway.ui.console import Console

# What writes files of its own beside the journal.
FILES = {"nginx": "/var/log/nginx/access.log /var/log/nginx/error.log"}
# With the requests' ids.
SEARCHED = {"nginx": f"/var/log/nginx/error.log {REQUESTS_LOG}"}
# Where they run; other units of systemd may be on any host, and a site's services are on those of the role app.
ROLES = {"nginx": ("lb", "web"), "mongod": ("db",)}


@click.command(
    epilog=examples(
        "slipway logs",
        "slipway logs --service worker --follow",
        "slipway logs --service nginx",
        "slipway logs --since -1h",
        "slipway logs --service nginx --grep 4f0c9d2e    # then --service backend: the same request",
    )
)
@on_hosts
@click.option("--service", default="backend", help="One of the site's services, nginx, mongod, or a unit of systemd.")
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--since",
    type=JournalTime(),
    default="",
    metavar="TIME",
    help='From when on, as journalctl takes it: -1h, "2026-11-29 15:00".',
)
@click.option("-n", "--lines", default=100, show_default=True, help="How many lines, without --since.")
@click.option(
    "--grep",
    "pattern",
    type=Regex(),
    default="",
    metavar="REGEX",
    help="Only lines that match, such as a request's id.",
)
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
    pattern: str,
    site: str,
) -> None:
    """Print the log of a service, of several hosts with their names."""
    if since and service in FILES:
        raise RunFailed(f"--since: {service} writes files of its own; use --lines")
    items = [*data, f"release_site={site}"]
    session = Session(environment, "", limit, items)
    roles = [*session.connections.roles().values()]
    own = {one.name for its in session.connections.settings.values() for one in its.released.all_services}
    wanted = ("app",) if service in own else ROLES.get(service, ())
    of_service = tuple(role for role in wanted if any(role in of_host for of_host in roles))
    if not limit and of_service and not all({*of_service} & {*of_host} for of_host in roles):
        session = Session(environment, "", of_service, items)

    def script(host: Host) -> str:
        return log_script(session.connections.settings[host.name].released, service, follows, since, lines, pattern)

    follow(session, console, {host.name: script(host) for host in session.connections.hosts()})


def log_script(settings: Settings, service: str, follows: bool, since: str, lines: int, pattern: str = "") -> str:
    """A command that prints a log, or its last `lines` that match a Perl-compatible regular expression."""
    if service in FILES:
        if not pattern:
            return f"exec tail -q -n {lines}{' -F' if follows else ''} {FILES[service]}"
        search, files = f"grep -hP --line-buffered -e {shlex.quote(pattern)}", SEARCHED[service]
        if follows:
            return f"tail -q -n +1 -F {files} | {search}"
        return f"{search} {files} | tail -n {lines}"
    own = {one.name: settings.unit(one) for one in settings.all_services}
    words = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--unit={own.get(service, service)}"]
    words += [f"--since={since}"] if since else [f"--lines={lines}"]
    words += [f"--grep={pattern}", "--case-sensitive=yes"] if pattern else []
    words += ["--follow"] if follows else []
    # As grep(1), it ends with 1 where nothing matches.
    return f"{shlex.join(words)} || [ $? = 1 ]" if pattern else f"exec {shlex.join(words)}"
