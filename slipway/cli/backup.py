"""`slipway backup`."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from slipway.backups.copying import archive_of
from slipway.backups.restic import ssh_words
from slipway.cli.backup_program import ROLE, ask_host, makers, run_there
from slipway.cli.by_ssh import copy_file
from slipway.cli.options import at_some_time, examples, hosts_options, on_hosts, pass_console, words_of
from slipway.cli.running import connected, end_with_failures
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.project import INVENTORIES
from slipway.secrets import env_file
from slipway.settings.backup import secret_names
from slipway.settings.model import Settings
from slipway.ui.console import Console, escape


@click.group("backup")
def backup_group() -> None:
    """Back up databases and uploads, look at the backups, and prove that they can be restored."""


def _session(environment: str, limit: tuple[str, ...], data: tuple[str, ...]) -> Session:
    session = Session(environment, "", limit or ROLE, data)
    making = makers(session)
    is_all = limit or len(making) == len(session.connections.hosts())
    return session if is_all else Session(environment, "", making, data)


def _verb(step: str, text: str, name: str = "") -> None:
    @backup_group.command(name or step, help=text, epilog=examples(f"slipway backup {name or step}"))
    @on_hosts
    @pass_console
    def command(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...]) -> None:
        ask_host(console, _session(environment, limit, data), [step])


@backup_group.command(epilog=examples("slipway backup now", "slipway backup now --limit db"))
@on_hosts
@click.option("--anyway", is_flag=True, help="Also to repositories with another server's backups, and new ones.")
@pass_console
def now(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], anyway: bool) -> None:
    """Make a full backup in all repositories now."""
    ask_host(console, _session(environment, limit, data), ["anyway" if anyway else "now"])


_verb("check", "Check that the repositories are whole, and name the times that cannot be restored.")
_verb("prune", "Remove what the policy (backup_keep_...) gives up.")
_verb("drill", "Restore the newest backup beside the data, compare every collection by hash, write a signed report.")


@backup_group.command("list", epilog=examples("slipway backup list", "slipway backup list --json"))
@on_hosts
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_console
def list_command(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], as_json: bool
) -> None:
    """List the backups in each repository, and the times that can be restored."""
    said = ask_host(console, _session(environment, limit, data), ["list"], shows=False)
    found = {name: json.loads(text) for name, text in said.items()}
    errors = {
        f"{name}, {repository}": f"[{name}] {' '.join(its['error'].split())}"
        for name, repositories in found.items()
        for repository, its in repositories.items()
        if "error" in its
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        end_with_failures(errors)
        return
    for name, repositories in found.items():
        for repository, its in repositories.items():
            if "error" in its:
                continue
            but = " but for the gaps" if its["gaps"] else ""
            console.say(f"{name}, {repository}: every second up to {its['newest'] or 'none yet'}{but}")
            for one in its["backups"]:
                console.say(f"{one['id']}  since {one['since']}, MongoDB {one['mongodb']}", "    backup ")
            for one in its["gaps"]:
                console.say(f"{one['begin']} to {one['end']}", "    gap    ")
    end_with_failures(errors)


@backup_group.command(
    epilog=examples(
        "slipway backup pull",
        "slipway backup pull --at 2026-11-29T15:00:01Z --only shop.orders",
        "slipway backup pull --raw --output shop.gz     # with all personal data",
    )
)
@on_hosts
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A new file; default: the site's name with .gz.",
)
@at_some_time
@click.option("--raw", is_flag=True, help="Without backup_anonymise: with all personal data.")
@pass_console
def pull(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    file: Path | None,
    raw: bool,
    **given: str,
) -> None:
    """Copy the databases from a backup to a file here, for development: rebuilt on the server beside the data, without
    MongoDB's users, anonymised there (backup_anonymise), and only then copied."""
    session = _session(environment, limit, data)
    names = [host.name for host in session.connections.hosts()]
    if len(names) > 1:
        raise RunFailed(f"found {len(names)} hosts, expected one: {', '.join(names)}; add --limit {names[0]}")
    settings = session.connections.settings[names[0]]
    target = file or Path(f"{settings.site_name}.gz")
    if target.exists():
        raise RunFailed(f"{target}: it exists; name a new file")
    if not target.parent.is_dir():
        raise RunFailed(f"{target}: found no folder {target.parent}; make it, or name another file")
    with connected(session, console):
        run_there(session, console, ["pull", *words_of(given), *(["--raw"] if raw else [])])
        try:
            copy_file(session.connections.hosts()[0], archive_of(settings.mongodb_data), target)
        finally:
            session.connections.by_root(f"rm -f {shlex.quote(archive_of(settings.mongodb_data))}")
    if console.level >= 0:
        console.say(f"{escape(str(target))}: into your own MongoDB by")
        console.say(f"mongorestore --gzip --archive={escape(str(target))} --drop --nsExclude 'admin.*'", "  ")


KIT = """\
Recovery kit of {site} ({domain}), by Slipway.
Keep it where neither the server nor your computer is: printed, or in a password manager. It opens the backups.

{secrets}
Repositories (restic, https://restic.net), of MongoDB {series}:
{repositories}{hints}
To look into the backups:
  export RESTIC_REPOSITORY=... RESTIC_PASSWORD=...   (BACKUP_PASSWORD without its quotes; and the other secrets)
  restic snapshots --tag slipway                     (full: the dump, files: folders, slice: the oplog since)

To a new server, with Slipway and this project's repository:
  1. a bare server, its address in inventory.py
  2. in `slipway secrets edit`, the secrets above, as they stand, and the contents of these files by their names
     (restic dump --tag slipway,files latest FILE):
{others}  3. slipway rebuild

Without Slipway, into an empty MongoDB of the same series:
  1. the documents, of the newest full snapshot whose id= a manifest has, too:
     restic dump FULL /mongodb.archive | mongorestore --archive --nsExclude 'config.*'
  2. what was written since, of each slice whose end= is after the manifest's begin=, one by one, the oldest first:
     restic dump SLICE /oplog.bson > oplog.bson; mkdir -p empty
     mongorestore --oplogReplay --oplogFile oplog.bson empty
     (to stop at a time: --oplogLimit SECONDS:0, seconds since 1970, as in the tags)
  3. the folders, and the secrets in /etc/SITE/credentials, of the files snapshot with the same id=:
     restic restore FILES --target FOLDER
"""
SFTP_KIT = """\
For {places}, put the key above into a file of mode 600, and these host keys into another one:
{known_hosts}and where it says restic, type
  restic -o sftp.command="ssh -i KEY -o UserKnownHostsFile=HOST_KEYS {where} -s sftp"
"""
REST_KIT = """\
For {places}, where restic is an older one that knows no RESTIC_REST_USERNAME, as Debian 12's:
  export RESTIC_REPOSITORY=rest:https://USER:PASSWORD@HOST/PATH   (special characters of the password as %XX)
"""


def kit_of(settings: Settings) -> str:
    """What a person needs when the server and the computer are gone."""
    names = secret_names(settings.backup_repositories, settings.backup_secrets)
    places = "".join(
        f"  {name}: {place}{'   (a folder of the server: lost with its disk)' * place.startswith('/')}\n"
        for name, place in settings.backup_repositories.items()
    )
    return KIT.format(
        site=settings.site_name,
        domain=settings.site_domain,
        # As `slipway secrets edit` reads them: a key has several lines.
        secrets="".join(env_file.line(name, settings.secrets[name]) for name in names),
        series=settings.mongodb_version,
        repositories=places,
        hints=_sftp_kit(settings) + _rest_kit(settings),
        others="".join(
            f"     {site.credentials_folder}/{name}\n"
            for site in settings.all_sites
            for name in site.backend_secrets
            if name not in (*names, *site.generated_secrets)
        )
        or "     (none)\n",
    )


def _sftp_kit(settings: Settings) -> str:
    places = {name: one for name, one in settings.backup_repositories.items() if one.startswith("sftp:")}
    known = "".join(f"  {line}\n" for line in settings.backup_known_hosts)
    return "".join(
        SFTP_KIT.format(places=name, known_hosts=known, where=" ".join(ssh_words(place)))
        for name, place in places.items()
    )


def _rest_kit(settings: Settings) -> str:
    places = [name for name, one in settings.backup_repositories.items() if one.startswith("rest:")]
    has_login = "RESTIC_REST_USERNAME" in settings.backup_secrets
    return REST_KIT.format(places=" and ".join(places)) if places and has_login else ""


@backup_group.command(epilog=examples("slipway backup kit kit.txt", "slipway backup kit lab -"))
@hosts_options
# By itself click would take a single argument for ENV.
@click.argument("words", nargs=-1, required=True, metavar="[ENV] FILE")
def kit(limit: tuple[str, ...], data: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Write the recovery kit, with its secrets, to a FILE that only you can read; - prints it."""
    *given, file = words
    environment = given[0] if given else "production"
    # Of a single word that is an environment, the file was forgotten.
    if len(given) > 1 or environment not in INVENTORIES or (not given and file in INVENTORIES):
        raise click.UsageError(f"found {' '.join(words)}, expected a file, or {' or '.join(INVENTORIES)} and a file")
    session = _session(environment, limit, data)
    texts = [kit_of(one) for one in session.connections.settings.values() if one.backup_repositories]
    if not texts:
        raise RunFailed("backup_repositories is empty: there are no backups to recover from")
    text = "\n".join(texts)
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise RunFailed(f"{file}: {error.strerror}; name a new file") from None
    with os.fdopen(number, "w", encoding="utf-8") as writing:
        writing.write(text)
    end_with_failures(session.connections.failures)
    click.echo(f"{Path(file).absolute()}: print it or put it into a password manager, then remove it")
