"""`slipway run`, `slipway shell` and `slipway mongosh`."""

from __future__ import annotations

import json
import shlex

import click
from pyinfra.api.host import Host

from slipway.cli.by_ssh import hand_over
from slipway.cli.options import examples, hosts_options, of_site, on_hosts, pass_console
from slipway.engine.session import Session
from slipway.project import INVENTORIES
from slipway.settings.model import Settings
from slipway.tasks.release_steps import LAUNCHER
from slipway.ui.console import Console

ENVIRONMENT = click.Choice(list(INVENTORIES))


@click.command(
    epilog=examples("slipway run -- python -m app.migrate", "slipway run --env lab -- python -c 'import app'")
)
@hosts_options
@click.option("--env", "environment", type=ENVIRONMENT, default="production", show_default=True, help="The hosts.")
@of_site
@click.argument("command", nargs=-1, required=True)
@pass_console
def run(
    console: Console,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    environment: str,
    site: str,
    command: tuple[str, ...],
) -> None:
    """Run a COMMAND once in the live release's folder: with its packages, as its user, with its environment, secrets
    and sandbox. Its exit code is the verb's."""
    if command[0] in INVENTORIES:
        # Other verbs take it there; here it would run on production's servers, as the command.
        rest = shlex.join(command[1:]) or "COMMAND"
        raise click.UsageError(
            f"found {command[0]} as the command, expected an environment as an option: slipway run --env {command[0]}"
            f" -- {rest}"
        )
    session = Session(environment, "", limit or ("app",), [*data, f"release_site={site}"])

    def script(host: Host) -> str:
        return run_script(session.connections.settings[host.name].released, command)

    hand_over(session, console, {host.name: script(host) for host in session.connections.hosts()})


def run_script(settings: Settings, command: tuple[str, ...]) -> str:
    """A command that runs another one as the backend's unit runs the backend: with its lines, but for what makes it a
    service."""
    unit = f"/etc/systemd/system/{settings.unit(settings.backend)}.service"
    path = f"PATH={settings.site_root}/current/backend/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    # systemd replaces ${NAME} in a unit's command, and a word $NAME; $$ is a $.
    # https://www.freedesktop.org/software/systemd/man/252/systemd.service.html#Command%20lines
    words = [word.replace("$", "$$") for word in command]
    launcher = f"{LAUNCHER} " if settings.backend_secrets_delivery == "environment" else ""
    return f"""\
[ -e {unit} ] || {{ echo "there is no {unit}: \\`slipway apply\\` comes first" >&2; exit 1; }}
set -- --property={shlex.quote(f"Environment={path}")}
while IFS= read -r line; do set -- "$@" --property="$line"; done <<END_OF_PROPERTIES
$(sed -n '/^\\[Service\\]/,/^\\[[^S]/p' {unit} |
  grep -E '^[A-Z][A-Za-z]+=' | grep -vE '^(Type|Exec\\w*|Restart\\w*|Timeout\\w*|Sockets|OOMScoreAdjust|Standard\\w*)=')
END_OF_PROPERTIES
[ -t 0 ] && how=--pty || how=--pipe
exec systemd-run --quiet --collect --wait $how "$@" {launcher}{shlex.join(words)}"""


@click.command(epilog=examples("slipway shell", "slipway shell --limit app1"))
@on_hosts
@pass_console
def shell(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...]) -> None:
    """Log in to a host by ssh, as Slipway does."""
    session = Session(environment, "", limit, data)
    hand_over(session, console, {host.name: "" for host in session.connections.hosts()})


@click.command(epilog=examples("slipway mongosh", "slipway mongosh --eval 'db.stats()'"))
@on_hosts
@click.option("--eval", "script", default="", metavar="JAVASCRIPT", help="Run this and end.")
@of_site
@pass_console
def mongosh(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], script: str, site: str
) -> None:
    """Open MongoDB's shell on the database host, as its administrator, in the site's database."""
    session = Session(environment, "", limit or ("db",), [*data, f"release_site={site}"])

    def on(host: Host) -> str:
        return mongosh_script(session.connections.settings[host.name], script)

    hand_over(session, console, {host.name: on(host) for host in session.connections.hosts()})


def mongosh_script(settings: Settings, script: str) -> str:
    """A command that opens the shell. It reads the password itself: a command line is for everybody to see."""
    database = settings.released.mongodb_database
    url = f"mongodb://{settings.mongodb_local}:{settings.mongodb_port}/{database}?directConnection=true"
    file = f"{settings.credentials_folder}/MONGODB_ADMIN_PASSWORD"
    login = (
        f"db = connect({json.dumps(url)}); db.getSiblingDB('admin').auth({json.dumps(settings.mongodb_admin_user)},"
        f" require('fs').readFileSync({json.dumps(file)}, 'utf8')); {script}"
    )
    lasting = "" if script else "--shell "
    # HOME: a history of what was typed, of root's alone.
    return f"exec mongosh --quiet --nodb {lasting}--eval {shlex.quote(login)}"
