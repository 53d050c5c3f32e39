"""`slipway inspect`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

import click

from slipway.cli.options import examples, for_people, pass_console, report_to
from slipway.engine.errors import RunFailed
from slipway.ui.console import Console

if TYPE_CHECKING:
    from slipway.inspection.report import Report


@click.command(
    epilog=examples(
        "slipway inspect root@203.0.113.7",
        "slipway inspect shop --html shop.html      # an alias of ~/.ssh/config",
        "slipway inspect shop.example.org:2222 --json - | jq .refusals",
        "slipway inspect shop --data sshd_port=2222   # what apply would do with this setting",
    )
)
@click.argument("host", metavar="HOST")
@click.option(
    "--data",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting to judge by, or how to connect (ssh_key, ...); repeatable.",
)
@report_to("html", "the report as one HTML page")
@report_to("json", "the report as JSON")
@for_people
@pass_console
def inspect(
    console: Console, host: str, data: tuple[str, ...], html_file: IO[str] | None, json_file: IO[str] | None
) -> None:
    """Show what is on any Debian or Ubuntu server, and what `slipway apply` would do with it. Changes nothing; needs no
    project. HOST is [user@]name[:port], or an alias of ~/.ssh/config."""
    from slipway.ui.inspection import as_html, show

    report = inspected(console, host, data)
    if json_file:
        json_file.write(report.model_dump_json(indent=2) + "\n")
    if html_file:
        html_file.write(as_html(report))
    if console.level >= 0:
        show(report, console)


def inspected(console: Console, host: str, data: tuple[str, ...]) -> Report:
    """The report of a host. Raises RunFailed, SettingsError."""
    from slipway.engine.one_host import OneHost, Target
    from slipway.inspection import collect

    try:
        target = Target.parse(host)
    except ValueError as error:
        raise RunFailed(f"HOST: {error}") from None
    connection, settings = collect.given(data)
    with ExitStack() as stack:
        with console.doing(f"Connecting to {target.name}"):
            one = stack.enter_context(OneHost(target, connection))
        with console.doing(f"Asking {target.name}"):
            return collect.inspect(one, settings)
