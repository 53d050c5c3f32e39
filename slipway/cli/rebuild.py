"""`slipway rebuild`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

import click

from slipway.cli.options import at_some_time, examples, on_hosts, pass_console, words_of
from slipway.cli.running import confirmed, names_of, warn
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.ui.console import Console


@click.command(
    epilog=examples("slipway rebuild", "slipway rebuild --at 2026-11-29T15:00:01Z", "slipway rebuild lab --yes")
)
@on_hosts
@at_some_time
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def rebuild(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], yes: bool, **given: str
) -> None:
    """Make a new server what a lost one was: apply the settings, restore data, uploads and generated secrets from the
    backups, and verify. Data that a server has backed up itself stay. Run it again after a failure or an
    interruption."""
    session = Session(environment, "deploy.py", limit, data)
    if given["only"]:
        raise click.UsageError("found --only, expected all databases: slipway restore --only restores a part")
    chosen = [environment, *(f"--limit={name}" for name in limit), *(f"--data={item}" for item in data)]
    warn(session, console)
    if not any(settings.backup_repositories for settings in session.connections.settings.values()):
        raise RunFailed("backup_repositories: found none, expected those of the lost server")
    console.say(f"{names_of(session)}: apply the settings, restore what a new server lacks, verify")
    if not (yes or confirmed()):
        return
    how = {-1: ["--quiet"], 0: [], 1: ["--verbose"]}[console.level]
    for words in (
        ["apply", *chosen, "--yes", *how],
        ["restore", *chosen, "--files", "--secrets", "--if-new", *words_of(given), "--yes", *how],
        ["verify", *chosen, *how],
    ):
        if code := _run(words):
            sys.exit(code)


def _run(words: Sequence[str]) -> int:
    """The exit code of a verb, which Ctrl-C reaches and ends in its own way."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run([sys.executable, "-P", "-m", "slipway", *words], check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
