"""The command line: `slipway VERB [ENV]`."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module

import click
import gevent

from slipway.engine import pyinfra_compat  # isort: skip  # noqa: F401  patches first

from slipway.cli.options import HELP_WIDTH, examples, for_people
from slipway.cli.running import ERROR
from slipway.engine.errors import RunFailed
from slipway.lab.steps import StepFailed
from slipway.project import NoProject
from slipway.settings.check import SettingsError

INTERRUPTED = 130  # as a shell reports a command that SIGINT ended
GONE = "the current folder does not exist any more"
# What is said of a full disk, or of a device that fails, without the name of a file.
NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
# The module of each verb, imported only when the verb is called.
VERBS = {
    "alarms": ("slipway.cli.alarms", "alarms_group"),
    "apply": ("slipway.cli.apply", "apply"),
    "backup": ("slipway.cli.backup", "backup_group"),
    "completion": ("slipway.cli.completion", "completion"),
    "db": ("slipway.cli.db", "db_group"),
    "drain": ("slipway.cli.drain", "drain"),
    "help": ("slipway.cli.help", "help_command"),
    "init": ("slipway.cli.init", "init"),
    "inspect": ("slipway.cli.inspect", "inspect"),
    "lab": ("slipway.lab.cli", "lab"),
    "lock": ("slipway.cli.lock", "lock"),
    "logs": ("slipway.cli.logs", "logs"),
    "maintenance": ("slipway.cli.maintenance", "maintenance"),
    "mongosh": ("slipway.cli.on_server", "mongosh"),
    "override": ("slipway.cli.override", "override"),
    "plan": ("slipway.cli.plan", "plan"),
    "rebuild": ("slipway.cli.rebuild", "rebuild"),
    "release": ("slipway.cli.release", "release"),
    "releases": ("slipway.cli.releases", "releases"),
    "report": ("slipway.cli.report", "report"),
    "restore": ("slipway.cli.restore", "restore"),
    "rollback": ("slipway.cli.rollback", "rollback"),
    "run": ("slipway.cli.on_server", "run"),
    # Which has all its commands with the one of this module.
    "secrets": ("slipway.cli.secrets_import", "secrets_group"),
    "settings": ("slipway.cli.settings", "settings_command"),
    "shell": ("slipway.cli.on_server", "shell"),
    "status": ("slipway.cli.status", "status_command"),
    "unadopt": ("slipway.cli.unadopt", "unadopt"),
    "undrain": ("slipway.cli.drain", "undrain"),
    "upgrade": ("slipway.cli.upgrade", "upgrade"),
    "upgrade-project": ("slipway.cli.upgrade_project", "upgrade_project"),
    "verify": ("slipway.cli.verify", "verify"),
}


class Verbs(click.Group):
    """The verbs, each loaded when it is wanted."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, command = VERBS[name]
        found: click.Command = getattr(import_module(module), command)
        return found


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": HELP_WIDTH},
    epilog=examples(
        "slipway lab up && slipway apply lab",
        "slipway plan",
        "slipway VERB --help   (more of them)",
    ),
)
@click.version_option(package_name="slipway")
@for_people
def cli() -> None:
    """From a bare VPS to a running, verified, TLS-terminated site, and back there whenever it drifts."""


def interrupt(*_signal: object) -> None:
    """Raise KeyboardInterrupt in the main greenlet. In another one, such as a connection's, it would end
    only that one, and the main greenlet would wait for it forever."""
    hub = gevent.get_hub()
    if gevent.getcurrent() is hub.parent:
        raise KeyboardInterrupt
    hub.handle_system_error(KeyboardInterrupt, KeyboardInterrupt())


def main() -> None:
    """Run the command line; a user's mistake and a failed step get their own words, not a traceback."""
    # It may be ignored, as a shell's background jobs do.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        cli(prog_name="slipway", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        click.echo("\ninterrupted; run it again to resume", err=True)
        if details := str(error.__cause__ or error):
            click.echo(details, err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ERROR)
    except (NoProject, SettingsError, RunFailed, StepFailed) as error:
        click.echo(f"slipway: {error}", err=True)
        sys.exit(ERROR)
    except OSError as error:
        # A file of the user's, or their disk; without a name it is the folder that they are in.
        is_gone = isinstance(error, FileNotFoundError) and not error.filename
        if not (error.filename or is_gone or error.errno in NOT_WRITTEN):
            raise
        if error.filename:
            said = f"{error.filename}: {error.strerror}"
        else:
            said = GONE if is_gone else f"the output, or a temporary file, can't be written: {error.strerror}"
        if error.errno in NOT_WRITTEN:
            # Python writes what is left once more, at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        click.echo(f"slipway: {said}", err=True)
        sys.exit(ERROR)
