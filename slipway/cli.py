"""The command line: `slipway VERB [ENV]`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from slipway.runner import INVENTORIES, PROJECT, Change, Outcome, RunFailed, Session  # isort: skip  patches first

import click
from rich.console import Console
from rich.markup import escape

from lab.cli import lab
from lab.steps import StepFailed
from slipway.secrets_cli import secrets_group
from slipway.settings import SettingsError

IN_SYNC, ERROR, PENDING = 0, 1, 2
INTERRUPTED = 130  # as a shell reports a command that SIGINT ended

console = Console(highlight=False, soft_wrap=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
def cli() -> None:
    """From a bare VPS to a running, verified, TLS-terminated site, and back there whenever it drifts."""


cli.add_command(lab)
cli.add_command(secrets_group)


def on_hosts(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and options of every verb that speaks to hosts."""
    for option in (
        click.option("--data", multiple=True, metavar="NAME=VALUE", help="A setting for this run; repeatable."),
        click.option("--limit", multiple=True, metavar="HOST|ROLE", help="Only this host or role; repeatable."),
        click.argument("environment", metavar="[ENV]", type=click.Choice(list(INVENTORIES)), default="production"),
    ):
        command = option(command)
    return command


@cli.command()
@on_hosts
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(environment: str, limit: tuple[str, ...], data: tuple[str, ...], as_json: bool) -> None:
    """Show what differs, and change nothing. Exit code: 0 in sync, 2 changes pending, 1 error."""
    with planned(environment, "deploy.py", limit, data) as (_, outcome):
        if as_json:
            click.echo(json.dumps(as_dict(outcome), indent=2))
        else:
            show_plan(outcome)
    sys.exit(PENDING if outcome.changes else IN_SYNC)


@cli.command()
@on_hosts
@click.option("--yes", is_flag=True, help="Don't ask.")
def apply(environment: str, limit: tuple[str, ...], data: tuple[str, ...], yes: bool) -> None:
    """Bring the hosts to what they should be."""
    with planned(environment, "deploy.py", limit, data) as (session, outcome):
        show_plan(outcome)
        if not outcome.changes:
            session.record_nothing(outcome.seconds)
        elif yes or confirmed():
            carry_out(session)


@cli.command()
@on_hosts
@click.option("--yes", is_flag=True, help="Don't ask.")
def release(environment: str, limit: tuple[str, ...], data: tuple[str, ...], yes: bool) -> None:
    """Build this checkout and ship it as the next release."""
    with planned(environment, "release.py", limit, data) as (session, _):
        console.print(f"The next release goes to {names_of(session)}.")
        if yes or confirmed():
            carry_out(session)


@cli.command()
@on_hosts
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report to this file.")
@click.option("--audit", is_flag=True, help="Run the auditors' tools that take minutes, too: testssl.sh and Lynis.")
def verify(environment: str, limit: tuple[str, ...], data: tuple[str, ...], html: Path | None, audit: bool) -> None:
    """Check from outside and on the hosts, changing nothing, that the servers are what they should be."""
    command = [sys.executable, "-m", "pytest", str(PROJECT / "tests/server"), "-q", f"--environment={environment}"]
    command += [f"--limit={name}" for name in limit] + [f"--data={item}" for item in data]
    command += [] if audit else ["-m", "not audit"]
    if html:
        command += [f"--html={html.resolve()}", "--self-contained-html"]
    Session(environment, "deploy.py", limit, data)  # what is wrong is told in our words, not in pytest's
    sys.exit(subprocess.run(command, cwd=PROJECT, env={**os.environ, "PY_COLORS": ""}, check=False).returncode)


@contextmanager
def planned(
    environment: str, deploy: str, limit: tuple[str, ...], data: tuple[str, ...]
) -> Iterator[tuple[Session, Outcome]]:
    """A session whose hosts are connected, and its plan; a terminal shows meanwhile what goes on.

    Raises RunFailed, in the end where only some of the hosts can't be planned.
    """
    session = Session(environment, deploy, limit, data)
    # On standard error: what a plan finds may be piped.
    terminal = Console(stderr=True)
    with ExitStack() as stack:
        with terminal.status(f"Connecting to {names_of(session)}"):
            stack.enter_context(session)
        with terminal.status(f"Comparing {names_of(session)} with {deploy}"):
            outcome = session.plan()
        yield session, outcome
    if outcome.failures:
        raise RunFailed("\n".join(outcome.failures.values()))


def names_of(session: Session) -> str:
    return ", ".join(host.name for host in session.hosts())


def carry_out(session: Session) -> None:
    """Apply what was planned; each operation's line appears as it ends, and a terminal shows those that run."""
    running: dict[str, str] = {}

    def tell(host: str, operation: str, result: str, seconds: float) -> None:
        if result == "running":
            running[host] = operation
        else:
            running.pop(host, None)
            show_operation(host, operation, result, seconds)
        status.update(escape("; ".join(f"{host}: {operation}" for host, operation in running.items())))

    with console.status("") as status:
        outcome = session.apply(tell)
    show_done(outcome)


def confirmed() -> bool:
    """Ask the user; without a terminal there is nobody to ask, and --yes must say it."""
    if not sys.stdin.isatty():
        raise RunFailed("nothing was changed: without a terminal, --yes must confirm")
    return click.confirm("Go on?", default=False)


def show_plan(outcome: Outcome) -> None:
    for host, why in outcome.skipped:
        console.print(f"[dim]- {escape(host)}: {escape(why)}[/]")
    for change in outcome.changes:
        show_change(change)
    count = len(outcome.changes)
    summary = f"[yellow]{count} to change[/]" if count else "[green]nothing to change[/]"
    console.print(f"{summary} of {outcome.operations} operations, compared in {outcome.seconds:.1f} s")


def show_change(change: Change) -> None:
    mark = "[cyan]↻[/]" if change.is_reaction else "[yellow]~[/]"
    console.print(f"{mark} {escape(change.host)}: {escape(change.operation)}")
    for line in (line for note in change.notes for line in note.splitlines()):
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
        console.print(f"    [{style}]{escape(line)}[/]")


def show_operation(host: str, operation: str, result: str, seconds: float) -> None:
    mark = {"changed": "[yellow]✓[/]", "ok": "[green]=[/]", "failed": "[red]✗[/]"}[result]
    console.print(
        f"{mark} {escape(host)}: {escape(operation)}" + (f" [dim]{seconds:.1f} s[/]" if seconds >= 0.5 else "")
    )


def show_done(outcome: Outcome) -> None:
    count = len(outcome.changes)
    console.print(
        f"[green]done[/]: {count} of {outcome.operations} operations changed something, {outcome.seconds:.1f} s"
    )


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome for programs."""
    return {
        "changes": [vars(change) for change in outcome.changes],
        "skipped": [{"host": host, "what": what} for host, what in outcome.skipped],
        "operations": outcome.operations,
        "seconds": round(outcome.seconds, 2),
    }


def main() -> None:
    """Run the command line; a user's mistake and a failed step get their own words, not a traceback."""
    try:
        cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted; run it again: it goes on from what is there", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ERROR)
    except (SettingsError, RunFailed, StepFailed) as error:
        click.echo(f"slipway: {error}", err=True)
        sys.exit(ERROR)
