"""`slipway upgrade-project`."""

from __future__ import annotations

import textwrap

import click

from slipway import pin, project
from slipway.cli.options import examples, on_hosts, pass_console
from slipway.cli.running import confirmed
from slipway.engine.errors import RunFailed
from slipway.starter import versions
from slipway.ui.console import Console


@click.command(
    "upgrade-project",
    epilog=examples(
        "slipway upgrade-project", "slipway upgrade-project --to slipway==0.3.0", "slipway upgrade-project lab"
    ),
)
@on_hosts
@click.option("--to", metavar="REQUIREMENT", help="The version to compare with, as pip takes it; default: this one.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def upgrade_project(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], to: str | None, yes: bool
) -> None:
    """Show how the plans of the pinned version of Slipway and of another differ, and pin the project to the other.
    Changes nothing on the servers."""
    folder = project.folder()
    old = pin.pinned(folder)
    if not old:
        raise RunFailed(f"{pin.FILE}: found no line that pins {pin.NAME}, expected one as {pin.running()}")
    wanted = to or pin.running()
    if wanted == old:
        console.say(f"{pin.FILE} is pinned to {old} already.")
        return
    with console.doing(f"Installing {old}"):
        before = versions.installed(old)
    with console.doing(f"Installing {wanted}"):
        after = versions.this(wanted) if wanted == pin.running() else versions.installed(wanted)
    arguments = [*(f"--limit={name}" for name in limit), *(f"--data={item}" for item in data)]
    with console.doing(f"Comparing the plans of {old} and {wanted}"):
        found = versions.differences(before.plan(environment, arguments), after.plan(environment, arguments))
    for one in found:
        kind = "changes otherwise" if one.old and one.new else "no longer changes" if one.old else "would change, too"
        click.echo(f"{one.host}: {one.operation}: {kind}")
        click.echo(textwrap.indent(one.new or one.old, "    "))
    for name, diff in versions.overridden(folder, before, after):
        click.echo(f"{name} is your own; Slipway's has changed since {old}: carry over what you need")
        click.echo(textwrap.indent(diff, "    "))
    count = f"{len(found)} difference{'s' * (len(found) > 1)}"
    console.say(f"{count} between the plans." if found else "The plans are the same.")
    if yes or confirmed():
        pin.pin(folder, wanted)
        console.say(f"Pinned {pin.FILE} to {wanted}; `slipway plan` and `slipway apply` come next.")
