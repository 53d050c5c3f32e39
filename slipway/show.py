"""What a person sees of a run: coloured and wrapped on a terminal, plain whole lines elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from slipway.diffs import diff_lines, is_diff

if TYPE_CHECKING:
    from rich.console import Console

    from slipway.plan_report import PlannedChange, PlannedHost, PlanReport
    from slipway.runner import Outcome, Session

# Of a diff this many lines are shown, all of them with --verbose.
MOST_DIFF_LINES = 24
# Below, what is indented would have no room.
LEAST_WIDTH = 16
STYLES = {"added": "green", "removed": "red", "place": "cyan", "same": "dim"}
MARKS = {"changed": "[yellow]✓[/]", "ok": "[green]=[/]", "failed": "[red]✗[/]"}

# How much is said: -1 errors and questions alone, 0, 1 all there is.
level = 0


def set_level(wanted: int) -> None:
    global level
    level = wanted


def without_color() -> None:
    # For the consoles that others make, and commands that we run.
    os.environ["NO_COLOR"] = "1"
    console().no_color = terminal().no_color = True


# rich is loaded where it is used: a plan's connections are on their way by then.
@cache
def console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


@cache
def terminal() -> Console:
    """For what goes on, on standard error: what is found may be piped."""
    from rich.console import Console

    return Console(stderr=True)


def escape(text: str) -> str:
    """`text` as rich's markup for it."""
    from rich.markup import escape

    return escape(text)


def plain(text: str) -> str:
    """`text` of a host's, for a terminal to show and not to obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def say(markup: str, lead: str = "") -> None:
    """A line after `lead`; on a terminal what has no room goes on below its own beginning."""
    if not console().is_terminal:
        console().print(f"{lead}{markup}", soft_wrap=True)
        return
    from rich.cells import cell_len
    from rich.text import Text

    start = Text.from_markup(lead)
    width = max(console().width - cell_len(start.plain), LEAST_WIDTH)
    for number, line in enumerate(Text.from_markup(markup).wrap(console(), width)):
        line.rstrip()
        console().print(start if number == 0 else " " * cell_len(start.plain), line, sep="", soft_wrap=True)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A terminal shows for the time of the block what goes on."""
    if level < 0 or not terminal().is_terminal:
        yield
        return
    with terminal().status(escape(what)):
        yield


def host(name: str, roles: list[str]) -> None:
    say(f"[bold]{escape(name)}[/]  [dim]{', '.join(roles)}[/]")


def plan(report: PlanReport, session: Session) -> None:
    for planned in report.hosts:
        _host(planned, session)
    totals = report.totals
    summary = f"[yellow]{totals.changes} to change[/]" if totals.changes else "[green]nothing to change[/]"
    say(f"{summary} of {totals.operations} operations, compared in {report.seconds:.1f} s")


def _host(planned: PlannedHost, session: Session) -> None:
    host(planned.name, planned.roles)
    if planned.failure is not None:
        say("[red]could not be asked[/]", "  [red]✗[/] ")
    for what in planned.skipped:
        say(f"[dim]{escape(plain(what))}[/]", "  [dim]-[/] ")
    for component in planned.components:
        say(f"[bold]{escape(component.name)}[/]", "  ")
        for change in component.changes:
            _change(change)
    if level > 0:
        pending = {change.operation for component in planned.components for change in component.changes}
        for name, operation in session.operations():
            if name == planned.name and operation not in pending:
                say(f"[dim]{escape(operation)}[/]", "  [green]=[/] ")


def _change(change: PlannedChange) -> None:
    say(escape(change.operation), "    [cyan]↻[/] " if change.is_reaction else "    [yellow]~[/] ")
    for reason in change.reasons:
        for line in reason.splitlines():
            style = "green" if line.startswith("+ ") else "red" if line.startswith("- ") else "dim"
            say(f"[{style}]{escape(plain(line))}[/]", "      ")
    for diff in change.diffs:
        assert is_diff(diff)
        lines = list(diff_lines(diff))
        say(f"[dim]{escape(plain(diff.splitlines()[0]))}[/]", "      ")
        for kind, line in lines if level > 0 else lines[:MOST_DIFF_LINES]:
            say(f"[{STYLES[kind]}]{escape(plain(line))}[/]", "      ")
        if level <= 0 and len(lines) > MOST_DIFF_LINES:
            say(f"[dim]... {len(lines) - MOST_DIFF_LINES} more lines: --verbose[/]", "      ")


class Applying:
    """An apply as it goes on: a line for each operation that has ended, and on a terminal one for each host."""

    def __init__(self, session: Session) -> None:
        from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
        from rich.table import Column

        self._totals = Counter(host for host, _ in session.operations())
        self._bar = Progress(
            SpinnerColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console(),
            transient=True,
            disable=level < 0 or not console().is_terminal,
        )
        self._tasks = {
            host.name: self._bar.add_task(escape(host.name), total=self._totals[host.name])
            for host in session.active_hosts()
        }

    def __enter__(self) -> Applying:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def tell(self, host: str, operation: str, result: str, seconds: float) -> None:
        """A `Progress` of the runner's."""
        if result == "running":
            self._bar.update(self._tasks[host], description=escape(f"{host}: {operation}"))
            return
        self._bar.update(self._tasks[host], advance=1, description=escape(host))
        if result == "failed":
            self._bar.remove_task(self._tasks[host])
        if level >= {"ok": 1, "changed": 0, "failed": -1}[result]:
            took = f" [dim]{seconds:.1f} s[/]" if seconds >= 0.5 else ""
            say(f"{escape(host)}: {escape(operation)}{took}", f"{MARKS[result]} ")


def done(outcome: Outcome) -> None:
    """What an apply has changed, and how long it took."""
    if level < 0:
        return
    result = "[red]not all done[/]" if outcome.failures else "[green]done[/]"
    say(f"{result}: {len(outcome.changes)} of {outcome.operations} operations changed something, {took(outcome)}")
    for name in dict.fromkeys(change.host for change in outcome.changes):
        parts = Counter(change.component for change in outcome.changes if change.host == name)
        say(", ".join(f"{part} {count}" for part, count in parts.items()), f"  {escape(name)}: ")


def took(outcome: Outcome) -> str:
    minutes, seconds = divmod(outcome.seconds, 60)
    return f"{minutes:.0f} min {seconds:.0f} s" if minutes else f"{seconds:.1f} s"
