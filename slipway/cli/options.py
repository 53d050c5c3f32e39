"""What the verbs have in common: their options and the end of their help."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from slipway.engine.errors import RunFailed
from slipway.engine.preload import known_components
from slipway.project import INVENTORIES
from slipway.settings.inventory import ROLES
from slipway.ui.console import Console

# Created by the first option that concerns it, and passed to the verb.
pass_console = click.make_pass_decorator(Console, ensure=True)


def for_people(command: Callable[..., None]) -> Callable[..., None]:
    """How much is said, and whether in colours: options of `slipway` and of each verb that speaks to hosts."""

    def level(wanted: int) -> Callable[..., None]:
        def set_level(context: click.Context, parameter: click.Parameter, given: bool) -> None:
            if given:
                context.ensure_object(Console).level = wanted

        return set_level

    def colours(context: click.Context, parameter: click.Parameter, given: bool) -> None:
        if given:
            context.ensure_object(Console).disable_color()

    for names, callback, text in (
        (["--no-color"], colours, "Disable colours, as NO_COLOR in the environment does."),
        (["-v", "--verbose"], level(1), "Also print what needs no change, and complete diffs."),
        (["-q", "--quiet"], level(-1), "Print only errors and confirmation prompts."),
    ):
        command = click.option(*names, is_flag=True, expose_value=False, callback=callback, help=text)(command)
    return command


def examples(*lines: str) -> str:
    """The end of a verb's help; click leaves what follows the \\b as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


# By itself click wraps no shorter than 50 columns.
HELP_WIDTH = min(shutil.get_terminal_size().columns, 80) - 2


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
        click.option(
            "--data", multiple=True, metavar="NAME=VALUE", help="Override a setting for this run; repeatable."
        ),
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
    help="Only these components (modules of tasks/); repeatable.",
)


class ReportFile(click.File):
    """A file that is opened, and what was in it gone, before anything else happens; - is standard output, alone."""

    def __init__(self) -> None:
        super().__init__("w", encoding="utf-8", lazy=False)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "-":
            assert context
            output = context.ensure_object(Console).output
            if output.quiet:
                self.fail("only one report can go to standard output", parameter, context)
            output.quiet = True
        return super().convert(value, parameter, context)


def report_to(name: str, what: str) -> Callable[..., Any]:
    text = f"Write {what} to a file; - is standard output."
    return click.option(f"--{name}", f"{name}_file", type=ReportFile(), help=text)


def with_something(context: click.Context, parameter: click.Parameter, given: str | None) -> str:
    """An option that is given must say something: a script's empty variable is not what its author meant."""
    if given == "":
        raise click.BadParameter("empty value; omit the option")
    return given or ""


of_site = click.option(
    "--site",
    metavar="NAME",
    callback=with_something,
    help="The site, by its site_name; default: the host's first.",
)


partial = click.option("--partial", is_flag=True, help="Leave out application servers that are down, and drained.")


def at_some_time(command: Callable[..., None]) -> Callable[..., None]:
    """The options of verbs that read backups: of which time, what, and from which repository."""
    from slipway.cli.types import Namespace, Second  # most verbs need none of them

    for names, its_type, metavar, text in (
        (["--from", "repository"], str, "NAME", "Only from this repository."),
        (["--only"], Namespace(), "DB[.COLLECTION]", "One database, or one collection."),
        (["--id", "id_"], str, "ID", "The end of this full backup instead."),
        (["--at", "time"], Second(), "TIME", "The second, in UTC; default: the newest."),
    ):
        command = click.option(*names, type=its_type, metavar=metavar, callback=with_something, help=text)(command)
    return command


def words_of(given: Mapping[str, str]) -> list[str]:
    """Those options as the program of backups takes them."""
    if given["time"] and given["id_"]:
        raise click.UsageError("found --at and --id, expected one of them")
    names = {"--at": "time", "--id": "id_", "--only": "only", "--from": "repository"}
    return [word for option, name in names.items() if given[name] for word in (option, given[name])]
