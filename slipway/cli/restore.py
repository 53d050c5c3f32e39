"""`slipway restore`."""

from __future__ import annotations

import json
import subprocess

import click
from pyinfra.api.host import Host

from slipway.backups.copying import SOURCE
from slipway.cli.backup_program import ROLE, makers, run_there
from slipway.cli.by_ssh import argv
from slipway.cli.options import at_some_time, examples, on_hosts, pass_console, with_something, words_of
from slipway.cli.running import confirmed, connected
from slipway.engine.errors import RunFailed
from slipway.engine.outcome import Change
from slipway.engine.session import Session
from slipway.settings.backup import BACKUP_SSH_KEY, content_of, secret_names
from slipway.settings.members import backs_up
from slipway.ui.console import Console


@click.command(
    epilog=examples(
        "slipway restore --at 2026-11-29T15:00:01Z",
        "slipway restore --only shop.orders --at '2026-11-29 15:00:01'",
        "slipway restore --files --secrets     (on a new server)",
        "slipway restore --to staging.example.org",
    )
)
@on_hosts
@at_some_time
@click.option("--files", is_flag=True, help="Also the folders of uploads, as of the full backup.")
@click.option("--secrets", is_flag=True, help="Also the secrets that the old server had generated, for a new one.")
@click.option(
    "--to",
    metavar="HOST",
    callback=with_something,
    help="A backup of the database's host to this host of the inventory.",
)
@click.option("--if-new", is_flag=True, help="Only on a server that has not yet made or restored a backup.")
@click.option("--dry-run", is_flag=True, help="Only say what would be restored.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def restore(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    files: bool,
    secrets: bool,
    to: str,
    if_new: bool,
    dry_run: bool,
    yes: bool,
    **given: str,
) -> None:
    """Restore the databases as they were at a second. They are restored beside the present ones and compared; the site
    answers 503 while they take their place. What fails leaves the data as they are."""
    words = ["restore", *words_of(given)]
    if given["only"] and (files or secrets):
        raise click.UsageError("found --only with --files or --secrets, expected --only alone")
    flags = {"--files": files, "--secrets": secrets, "--if-new": if_new}
    words += [name for name, value in flags.items() if value]
    if to:
        there = [host.name for host in Session(environment, "", limit or ROLE, data).connections.inventory]
        if to not in there:
            raise RunFailed(f"--to: found {to}, expected a host of the inventory: {', '.join(there)}")
    session = Session(environment, "", (to,) if to else limit or ROLE, data)
    if not to and not limit and len(making := makers(session)) < len(session.connections.hosts()):
        session = Session(environment, "", making, data)
    source = source_for(session, to, limit, given["repository"]) if to else ""
    with connected(session, console):
        for more in (["--dry-run"], []):
            if not more and (dry_run or not (yes or confirmed())):
                return
            if more:
                _run(session, console, words + more, source)
            else:
                # An apply restarts MongoDB and releases restart services, and neither may happen meanwhile.
                with session.executor.locked("restore") as done:
                    _run(session, console, words, source)
                    done += [Change(host.name, "restore") for host in session.connections.active_hosts()]


def _run(session: Session, console: Console, words: list[str], source: str) -> None:
    if source:
        hand_over_source(session.connections.hosts()[0], source)
    run_there(session, console, [*words, *(["--of-another-host"] if source else [])])


def source_for(session: Session, to: str, limit: tuple[str, ...], repository: str) -> str:
    """What host `to` needs to read the backups of another one: their repositories and secrets, as JSON. Raises
    RunFailed."""
    hosts = {host.name: host for host in session.connections.inventory}
    settings = session.connections.settings
    named = {name for name, host in hosts.items() if {name, *host.groups} & {*(limit or ROLE)}}
    sources = [name for name in sorted(named - {to}) if settings[name].backup_repositories and backs_up(settings[name])]
    if not sources:
        raise RunFailed(f"--to {to}: found no other host with backups, need the one whose backups to restore")
    if len(sources) > 1:
        raise RunFailed(f"--to {to}: found {', '.join(sources)} with backups, need one; add --limit HOST")
    its = settings[sources[0]]
    if repository and repository not in its.backup_repositories:
        names_of_its = ", ".join(its.backup_repositories)
        raise RunFailed(f"--from: found {repository}, expected one of the repositories of {sources[0]}: {names_of_its}")
    places = {
        name: place
        for name, place in its.backup_repositories.items()
        if not place.startswith("/") and repository in ("", name)
    }
    if not places:
        raise RunFailed(
            f"--to {to}: the repositories of {sources[0]} are folders of its own disk; need one that {to} can reach"
        )
    names = secret_names(its.backup_repositories, its.backup_secrets)
    return json.dumps(
        {
            "repositories": places,
            "secrets": {name: content_of(name, its.secrets[name]) for name in names},
            "variables": [name for name in its.backup_secrets if name != BACKUP_SSH_KEY],
            "known_hosts": "".join(f"{line}\n" for line in its.backup_known_hosts),
        }
    )


def hand_over_source(host: Host, source: str) -> None:
    """By standard input: a command line is for everybody to see. Raises RunFailed."""
    folder = SOURCE.rpartition("/")[0]
    script = f"install -d -m 711 {folder} && umask 077 && cat > {SOURCE}"
    done = subprocess.run(argv(host, script), input=source, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RunFailed(f"[{host.name}] {done.stderr.strip()}")
