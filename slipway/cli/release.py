"""`slipway release`."""

from __future__ import annotations

import json
import os

import click
from pyinfra.api.exceptions import PyinfraError

from slipway.cli.options import examples, of_site, on_hosts, partial, pass_console, with_something
from slipway.cli.running import carry_out, confirmed, planned
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.releases import sources
from slipway.ui.console import Console, escape


@click.command(
    epilog=examples(
        "slipway release",
        "slipway release --ref v1.4.2",
        "slipway release --path ../codementee --only frontend",
        "slipway release lab --yes",
    )
)
@on_hosts
@of_site
@click.option("--ref", callback=with_something, help="Branch, tag or commit, fetched from origin if need be.")
@click.option(
    "--path", callback=with_something, metavar="DIR", help="Directory with the sources of backend and frontend."
)
@click.option(
    "--only", callback=with_something, metavar="PART,...", help="backend or frontend: release only this part."
)
@partial
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def release(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    site: str,
    ref: str,
    path: str,
    only: str,
    partial: bool,
    yes: bool,
) -> None:
    """Build the next release, start it beside the live one, check its health, and activate it without downtime."""
    parts = json.dumps(only.split(",")) if only else ""
    given = {"release_site": site, "release_ref": ref, "release_path": path, "release_parts": parts}
    given["release_partial"] = "true" if partial else ""
    items = [f"{name}={value}" for name, value in given.items() if value]
    session = Session(environment, "release.py", limit, [*data, *items])
    # Its sources are on this machine.
    servers = servers_of(session)
    what = described(session) if servers else ""
    with planned(session, console):
        if console.level >= 0 or not yes:
            console.say(f"Releasing to {servers}: {escape(what)}.")
        if yes or confirmed():
            carry_out(session, console)


def servers_of(session: Session) -> str:
    """The hosts that have releases."""
    return ", ".join(name for name, roles in session.connections.roles().items() if roles != ["lb"])


def described(session: Session) -> str:
    """What a release is made of, in words. Raises RunFailed where there is no such thing."""
    name = next(name for name, roles in session.connections.roles().items() if roles != ["lb"])
    settings = session.connections.settings[name].released
    try:
        found = sources.of(settings)
    except PyinfraError as error:
        raise RunFailed(f"{error}; nothing was changed") from error
    parts = " and ".join(settings.released_parts)
    if found.ref:
        return f"{parts} of {found.ref} ({found.commit})"
    changes = ", with changes that are not in git" if found.commit.endswith("-dirty") else ""
    folder = os.path.commonpath(found.folders)
    return f"{parts} of {folder} ({found.commit or 'not in git'}{changes})"
