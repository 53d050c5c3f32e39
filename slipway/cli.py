"""The command line: `slipway VERB [ENV]`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from slipway.runner import (  # isort: skip  patches first
    INVENTORIES,
    PROJECT,
    ROLES,
    ApplyFailed,
    Outcome,
    RunFailed,
    Session,
    known_components,
)

import click
import gevent
from click.shell_completion import CompletionItem, get_completion_class
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from lab.steps import StepFailed
from slipway import show, sources
from slipway.settings import SettingsError

if TYPE_CHECKING:
    from slipway.plan_report import PlanReport

IN_SYNC, ERROR, PENDING = 0, 1, 2
INTERRUPTED = 130  # as a shell reports a command that SIGINT ended


def for_people(command: Callable[..., None]) -> Callable[..., None]:
    """How much is said, and whether in colours: options of `slipway` and of each verb that speaks to hosts."""

    def level(wanted: int) -> Callable[..., None]:
        return lambda context, parameter, given: show.set_level(wanted) if given else None

    def colours(context: click.Context, parameter: click.Parameter, given: bool) -> None:
        if given:
            show.without_color()

    for names, callback, text in (
        (["--no-color"], colours, "No colours; NO_COLOR in the environment says it too."),
        (["-v", "--verbose"], level(1), "Say also what needs no change, and whole diffs."),
        (["-q", "--quiet"], level(-1), "Say nothing but errors, and what must be confirmed."),
    ):
        command = click.option(*names, is_flag=True, expose_value=False, callback=callback, help=text)(command)
    return command


def examples(*lines: str) -> str:
    """The end of a verb's help; click leaves what follows the \\b as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


# Of its own click makes no line shorter than 50 columns.
HELP_WIDTH = min(shutil.get_terminal_size().columns, 80) - 2


# Where the verbs are that have verbs of their own.
GROUPS = {"lab": ("lab.cli", "lab"), "secrets": ("slipway.secrets_cli", "secrets_group")}


class Verbs(click.Group):
    """The verbs. Groups of them are loaded when they are wanted: a plan of a server has no use for what they need."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *GROUPS])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in GROUPS:
            return super().get_command(context, name)
        module, group = GROUPS[name]
        found: click.Command = getattr(import_module(module), group)
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


def _complete_limit(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(role) for role in ROLES if role.startswith(typed)]


def _complete_only(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    before, comma, last = typed.rpartition(",")
    try:
        return [CompletionItem(f"{before}{comma}{name}") for name in known_components() if name.startswith(last)]
    except RunFailed:
        return []


def hosts_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every verb that speaks to hosts."""
    for option in (
        for_people,
        click.option("--data", multiple=True, metavar="NAME=VALUE", help="A setting for this run; repeatable."),
        click.option(
            "--limit",
            multiple=True,
            metavar="HOST|ROLE",
            shell_complete=_complete_limit,
            help="Only this host or role; repeatable.",
        ),
    ):
        command = option(command)
    return command


def on_hosts(command: Callable[..., None]) -> Callable[..., None]:
    """Those, and the environment."""
    kinds = click.Choice(list(INVENTORIES))
    argument = click.argument("environment", metavar="[ENV]", type=kinds, default="production")
    return hosts_options(argument(command))


only_some = click.option(
    "--only",
    multiple=True,
    metavar="COMPONENT,...",
    shell_complete=_complete_only,
    help="Only these components, modules of tasks/; repeatable.",
)


class ReportFile(click.File):
    """A file that is opened, and what was in it gone, before anything else happens; - is standard output, alone."""

    def __init__(self) -> None:
        super().__init__("w", encoding="utf-8", lazy=False)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "-":
            if show.console().quiet:
                self.fail("standard output has room for one report", parameter, context)
            show.console().quiet = True
        return super().convert(value, parameter, context)


def report_to(name: str, what: str) -> Callable[..., Any]:
    text = f"Write {what} to a file; - is standard output."
    return click.option(f"--{name}", f"{name}_file", type=ReportFile(), help=text)


@cli.command(
    epilog=examples(
        "slipway plan",
        "slipway plan --only nginx,tls --limit web",
        "slipway plan --json plan.json --html plan.html",
        "slipway plan --json - | jq .totals.changes",
        "slipway plan --quiet || echo drift or error",
    )
)
@on_hosts
@only_some
@report_to("json", "the plan for programs (docs/plan.schema.json)")
@report_to("html", "a page to read")
def plan(
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    only: tuple[str, ...],
    json_file: IO[str] | None,
    html_file: IO[str] | None,
) -> None:
    """Show what differs, and change nothing. Exit code: 0 in sync, 2 changes pending, 1 error."""
    session = Session(environment, "deploy.py", limit, data, only)
    try:
        with planned(session) as outcome:
            pass
    except RunFailed:
        if session.failures:
            failed = Outcome([], [], 0, 0.0, session.failures)
            write_reports(session.report(failed), json_file, html_file)
        raise
    report = session.report(outcome)
    write_reports(report, json_file, html_file)
    if show.level >= 0:
        show.plan(report, session)
    end_with_failures(outcome)
    sys.exit(PENDING if outcome.changes else IN_SYNC)


def write_reports(report: PlanReport, json_file: IO[str] | None, html_file: IO[str] | None) -> None:
    from slipway.plan_report import as_html, as_json

    if json_file:
        json_file.write(as_json(report))
    if html_file:
        html_file.write(as_html(report))


@cli.command(
    epilog=examples(
        "slipway apply",
        "slipway apply lab --yes",
        "slipway apply --only nginx --limit web",
        "slipway apply --data swap_mb=512",
    )
)
@on_hosts
@only_some
@click.option("--yes", is_flag=True, help="Don't ask.")
def apply(environment: str, limit: tuple[str, ...], data: tuple[str, ...], only: tuple[str, ...], yes: bool) -> None:
    """Bring the hosts to what they should be: show the plan, ask, and do it."""
    session = Session(environment, "deploy.py", limit, data, only)
    with planned(session) as outcome:
        # Nobody says yes to what they have not seen.
        if show.level >= 0 or (outcome.changes and not yes):
            show.plan(session.report(outcome), session)
        if not outcome.changes:
            session.record_nothing(outcome.seconds)
        elif yes or confirmed():
            carry_out(session)
            return
        end_with_failures(outcome)


def with_something(context: click.Context, parameter: click.Parameter, given: str | None) -> str:
    """An option that is given must say something: a script's empty variable is not what its author meant."""
    if given == "":
        raise click.BadParameter("found nothing, expected a value; leave the option out for what is without it")
    return given or ""


of_site = click.option(
    "--site",
    metavar="NAME",
    callback=with_something,
    help="One of the host's sites, by its site_name; else the first.",
)


@cli.command(
    epilog=examples(
        "slipway release",
        "slipway release --ref v1.4.2",
        "slipway release --path ../codementee --only frontend",
        "slipway release lab --yes",
    )
)
@on_hosts
@of_site
@click.option("--ref", callback=with_something, help="A branch, tag or commit, fetched from origin if it is not here.")
@click.option("--path", callback=with_something, metavar="DIR", help="A folder that holds backend and frontend.")
@click.option(
    "--only", callback=with_something, metavar="PART,...", help="backend or frontend: the other stays what it is."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
def release(
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    site: str,
    ref: str,
    path: str,
    only: str,
    yes: bool,
) -> None:
    """Build the next release, try it beside the one that serves, and switch to it: visitors notice nothing."""
    parts = json.dumps(only.split(",")) if only else ""
    given = {"release_site": site, "release_ref": ref, "release_path": path, "release_parts": parts}
    items = [f"{name}={value}" for name, value in given.items() if value]
    session = Session(environment, "release.py", limit, [*data, *items])
    with planned(session):
        if show.level >= 0 or not yes:
            show.say(f"The next release goes to {names_of(session)}: {show.escape(described(session))}.")
        if yes or confirmed():
            carry_out(session)


def described(session: Session) -> str:
    """What a release is made of, in words. Raises RunFailed where there is no such thing."""
    settings = session.settings[session.hosts()[0].name].released
    try:
        found = sources.of(settings)
    except PyinfraError as error:
        raise RunFailed(f"{error}; nothing was changed") from error
    parts = " and ".join(settings.release_parts)
    if found.ref:
        return f"{parts} of {found.ref} ({found.commit})"
    changes = ", with changes that are not in git" if found.commit.endswith("-dirty") else ""
    return f"{parts} of {found.backend.parent} ({found.commit or 'not in git'}{changes})"


@cli.command(
    epilog=examples(
        "slipway rollback", "slipway rollback 20261126031500-0c890ac", "slipway rollback lab --yes", "slipway releases"
    )
)
@hosts_options
@of_site
@click.argument("words", metavar="[ENV] [ID]", nargs=-1)
@click.option("--yes", is_flag=True, help="Don't ask.")
def rollback(words: tuple[str, ...], limit: tuple[str, ...], data: tuple[str, ...], site: str, yes: bool) -> None:
    """Switch back to the release before, or to the one named ID: as with a release, visitors notice nothing."""
    environment, rest = (words[0], words[1:]) if words and words[0] in INVENTORIES else ("production", words)
    if len(rest) > 1 or "" in rest:
        raise click.UsageError(f"found {' '.join(rest) or 'nothing'}, expected the id of one release")
    items = [*data, f"release_site={site}", *(f"release_id={name}" for name in rest)]
    session = Session(environment, "rollback.py", limit, items)
    with planned(session) as outcome:
        if show.level >= 0 or not yes:
            show.plan(session.report(outcome), session)
        if yes or confirmed():
            carry_out(session)


@cli.command(epilog=examples("slipway releases", "slipway releases lab --limit web"))
@on_hosts
@of_site
def releases(environment: str, limit: tuple[str, ...], data: tuple[str, ...], site: str) -> None:
    """List the releases that are on the hosts, the newest first: what `slipway rollback` can go back to."""
    from slipway.releases import releases_of, rows

    session = Session(environment, "", limit, [*data, f"release_site={site}"])
    with connected(session), show.doing(f"Asking {names_of(session)}"):
        found = releases_of(session)
    for name, roles in session.roles().items():
        if name in found:
            show.host(name, roles)
            for mark, line in rows(found[name]):
                show.say(show.escape(show.plain(line)), f"  {mark:<8} ")
    if session.failures:
        raise RunFailed("\n".join(session.failures.values()))


@cli.command(epilog=examples("slipway maintenance on", "slipway maintenance off", "slipway maintenance on lab"))
@click.argument("state", type=click.Choice(["on", "off"]))
@on_hosts
@of_site
def maintenance(state: str, environment: str, limit: tuple[str, ...], data: tuple[str, ...], site: str) -> None:
    """Answer all visitors that the site is back in a moment (503), or serve them again. It takes effect at once."""
    session = Session(environment, "", limit or ("web",), [*data, f"release_site={site}"])

    def switch(host: Host) -> str:
        flag = f"{session.settings[host.name].released.site_root}/maintenance"
        return f"{'touch' if state == 'on' else 'rm -f'} {shlex.quote(flag)}"

    with connected(session):
        session.carry_out(f"maintenance {state}", switch)
        show.say(f"{names_of(session)}: maintenance is {state}")


@cli.command(epilog=examples("slipway verify", "slipway verify lab --html verify.html", "slipway verify --audit"))
@on_hosts
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report to this file.")
@click.option("--audit", is_flag=True, help="Run the auditors' tools that take minutes, too: testssl.sh and Lynis.")
def verify(environment: str, limit: tuple[str, ...], data: tuple[str, ...], html: Path | None, audit: bool) -> None:
    """Check from outside and on the hosts, changing nothing, that the servers are what they should be."""
    command = [sys.executable, "-m", "pytest", str(PROJECT / "tests/server"), f"--environment={environment}"]
    command += {-1: ["-qq"], 0: ["-q"], 1: []}[show.level]
    command += [f"--limit={name}" for name in limit] + [f"--data={item}" for item in data]
    command += [] if audit else ["-m", "not audit"]
    if html:
        command += [f"--html={html.resolve()}", "--self-contained-html"]
    Session(environment, "deploy.py", limit, data)  # what is wrong is told in our words, not in pytest's
    sys.exit(subprocess.run(command, cwd=PROJECT, env={**os.environ, "PY_COLORS": ""}, check=False).returncode)


@cli.command("status", epilog=examples("slipway status", "slipway status lab --json -", "slipway status --limit db"))
@on_hosts
@report_to("json", "it for programs")
def status_command(environment: str, limit: tuple[str, ...], data: tuple[str, ...], json_file: IO[str] | None) -> None:
    """Show what runs on the hosts: services, versions, certificate, disk, the last release and apply. Only reads."""
    from slipway.status import rows, status

    session = Session(environment, "", limit, data)
    with connected(session), show.doing(f"Asking {names_of(session)}"):
        report = status(session)
    if json_file:
        json_file.write(report.model_dump_json(indent=2) + "\n")
    if show.level >= 0:
        for host in report.hosts:
            show.host(host.name, host.roles)
            for label, text in rows(host, report.when) if host.failure is None else [("failed", "could not be asked")]:
                show.say(text, f"  {label:<12}")
    if session.failures:
        raise RunFailed("\n".join(session.failures.values()))


@cli.command(
    epilog=examples(
        'eval "$(slipway completion bash)"   # in ~/.bashrc',
        'eval "$(slipway completion zsh)"    # in ~/.zshrc',
        "slipway completion fish | source    # in config.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what lets a shell complete verbs, options, roles and components."""
    of_shell = get_completion_class(shell)
    assert of_shell
    click.echo(of_shell(cli, {}, "slipway", "_SLIPWAY_COMPLETE").source())


@contextmanager
def connected(session: Session) -> Iterator[None]:
    """Connect the hosts of a session for the time of the block."""
    with ExitStack() as stack:
        session.begin_connecting()
        with show.doing(f"Connecting to {names_of(session)}"):
            stack.enter_context(session)
        yield


@contextmanager
def planned(session: Session) -> Iterator[Outcome]:
    """The plan of a session, whose hosts are connected for the time of the block."""
    with connected(session):
        with show.doing(f"Comparing {names_of(session)} with {session.deploy}"):
            outcome = session.plan()
        yield outcome


def names_of(session: Session) -> str:
    return ", ".join(host.name for host in session.hosts())


def carry_out(session: Session) -> None:
    """Apply what was planned, and say what it came to."""
    try:
        with show.Applying(session) as applying:
            outcome = session.apply(applying.tell)
    except ApplyFailed as failed:
        show.done(failed.outcome)
        raise
    show.done(outcome)


def end_with_failures(outcome: Outcome) -> None:
    if outcome.failures:
        raise RunFailed("\n".join(outcome.failures.values()))


def confirmed() -> bool:
    """Ask the user; without a terminal there is nobody to ask, and --yes must say it."""
    if not sys.stdin.isatty():
        raise RunFailed("nothing was changed: without a terminal, --yes must confirm")
    return click.confirm("Go on?", default=False)


def interrupt(*_signal: object) -> None:
    """Tell whoever waits for the end. Whatever greenlet is at work just then would be told else: a connection's, say,
    which would end, and be waited for in vain."""
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
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted; run it again: it goes on from what is there", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ERROR)
    except (SettingsError, RunFailed, StepFailed) as error:
        click.echo(f"slipway: {error}", err=True)
        sys.exit(ERROR)
