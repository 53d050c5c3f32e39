"""Output for people: coloured and wrapped on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from slipway.ui.diffs import diff_lines

if TYPE_CHECKING:
    from rich import console as rich_console

    from slipway.engine.outcome import Outcome
    from slipway.engine.session import Session
    from slipway.ui.plan_report import PlannedChange, PlannedHost, PlanReport

# Lines shown of a diff; --verbose shows all.
MAX_DIFF_LINES = 24
# Narrower terminals have no room for indented text.
MIN_WIDTH = 16
# A running operation's time is shown from this on; without a terminal a line is printed each SLOW_SECONDS.
MIN_TOLD_SECONDS, SLOW_SECONDS = 5, 30
STYLES = {"added": "green", "removed": "red", "place": "cyan", "same": "dim"}
MARKS = {"changed": "[yellow]✓[/]", "ok": "[green]=[/]", "failed": "[red]✗[/]"}


def escape(text: str) -> str:
    """`text` escaped for rich's markup."""
    from rich.markup import escape

    return escape(text)


def plain(text: str) -> str:
    """`text` from a host with its control characters escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


class Console:
    """Where a verb prints: results to standard output, progress to standard error."""

    def __init__(self) -> None:
        # Verbosity: -1 only errors and prompts, 0 normal, 1 everything.
        self.level = 0

    # rich is imported late, while a plan's connections are being made.
    @cached_property
    def output(self) -> rich_console.Console:
        from rich.console import Console

        return Console(highlight=False)

    @cached_property
    def errors(self) -> rich_console.Console:
        from rich.console import Console

        return Console(stderr=True)

    def disable_color(self) -> None:
        # For other consoles and child processes.
        os.environ["NO_COLOR"] = "1"
        self.output.no_color = self.errors.no_color = True

    def say(self, markup: str, lead: str = "") -> None:
        """Print a line after `lead`; on a terminal it wraps with a hanging indent."""
        if not self.output.is_terminal:
            self.output.print(f"{lead}{markup}", soft_wrap=True)
            return
        from rich.cells import cell_len
        from rich.text import Text

        start = Text.from_markup(lead)
        width = max(self.output.width - cell_len(start.plain), MIN_WIDTH)
        for number, line in enumerate(Text.from_markup(markup).wrap(self.output, width)):
            line.rstrip()
            self.output.print(start if number == 0 else " " * cell_len(start.plain), line, sep="", soft_wrap=True)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show a spinner on a terminal during the block."""
        if self.level < 0 or not self.errors.is_terminal:
            yield
            return
        with self.errors.status(escape(what)):
            yield

    def host(self, name: str, roles: list[str]) -> None:
        self.say(f"[bold]{escape(name)}[/]  [dim]{', '.join(roles)}[/]")

    def plan(self, report: PlanReport, session: Session) -> None:
        for planned in report.hosts:
            self._host(planned, session)
        totals = report.totals
        summary = f"[yellow]{totals.changes} to change[/]" if totals.changes else "[green]nothing to change[/]"
        self.say(f"{summary} of {totals.operations} operations, compared in {report.seconds:.1f} s")

    def _host(self, planned: PlannedHost, session: Session) -> None:
        self.host(planned.name, planned.roles)
        if planned.failure is not None:
            self.say("[red]could not be asked[/]", "  [red]✗[/] ")
        for what in planned.skipped:
            self.say(f"[dim]{escape(plain(what))}[/]", "  [dim]-[/] ")
        for component in planned.components:
            self.say(f"[bold]{escape(component.name)}[/]", "  ")
            for change in component.changes:
                self._change(change)
        if self.level > 0:
            pending = {change.operation for component in planned.components for change in component.changes}
            for name, operation in session.planner.operations():
                if name == planned.name and operation not in pending:
                    self.say(f"[dim]{escape(operation)}[/]", "  [green]=[/] ")

    def _change(self, change: PlannedChange) -> None:
        self.say(escape(change.operation), "    [cyan]↻[/] " if change.is_reaction else "    [yellow]~[/] ")
        for reason in change.reasons:
            for line in reason.splitlines():
                style = "green" if line.startswith("+ ") else "red" if line.startswith("- ") else "dim"
                self.say(f"[{style}]{escape(plain(line))}[/]", "      ")
        for diff in change.diffs:
            lines = list(diff_lines(diff))
            self.say(f"[dim]{escape(plain(diff.splitlines()[0]))}[/]", "      ")
            for kind, line in lines if self.level > 0 else lines[:MAX_DIFF_LINES]:
                self.say(f"[{STYLES[kind]}]{escape(plain(line))}[/]", "      ")
            if self.level <= 0 and len(lines) > MAX_DIFF_LINES:
                self.say(f"[dim]... {len(lines) - MAX_DIFF_LINES} more lines: --verbose[/]", "      ")

    def done(self, outcome: Outcome) -> None:
        """Print the result of an apply and its duration."""
        if self.level < 0:
            return
        from slipway.engine.notes import Hint

        result = "[red]incomplete[/]" if outcome.failures else "[green]done[/]"
        self.say(
            f"{result}: {len(outcome.changes)} of {outcome.operations} operations changed something, {took(outcome)}"
        )
        for name in dict.fromkeys(change.host for change in outcome.changes):
            parts = Counter(change.component for change in outcome.changes if change.host == name)
            self.say(", ".join(f"{part} {count}" for part, count in parts.items()), f"  {escape(name)}: ")
        hints = [(change.host, note.text) for change in outcome.changes for note in change.notes if type(note) is Hint]
        for name, text in dict.fromkeys(hints):
            for line in text.splitlines():
                self.say(escape(plain(line)), f"  {escape(name)}: [yellow]note:[/] ")


class Applying:
    """The progress of an apply: a line for each finished operation, and on a terminal one for each host."""

    def __init__(self, console: Console, session: Session) -> None:
        from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
        from rich.table import Column

        self._console = console
        # When a slow operation was last reported, in seconds since its start, by host.
        self._told_at: dict[str, float] = {}
        self._totals = Counter(host for host, _ in session.planner.operations())
        self._bar = Progress(
            SpinnerColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console.output,
            transient=True,
            disable=console.level < 0 or not console.output.is_terminal,
        )
        self._tasks = {
            host.name: self._bar.add_task(escape(host.name), total=self._totals[host.name])
            for host in session.connections.active_hosts()
        }

    def __enter__(self) -> Applying:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def tell(self, host: str, operation: str, result: str, seconds: float) -> None:
        """The `Progress` callback of an apply."""
        if result == "running":
            took = f", {lasted(seconds)}" if seconds >= MIN_TOLD_SECONDS else ""
            self._bar.update(self._tasks[host], description=escape(f"{host}: {operation}{took}"))
            self._tell_slow(host, operation, seconds)
            return
        self._told_at.pop(host, None)
        self._bar.update(self._tasks[host], advance=1, description=escape(host))
        if result == "failed":
            self._bar.remove_task(self._tasks[host])
        if self._console.level >= {"ok": 1, "changed": 0, "failed": -1}[result]:
            took = f" [dim]{seconds:.1f} s[/]" if seconds >= 0.5 else ""
            self._console.say(f"{escape(host)}: {escape(operation)}{took}", f"{MARKS[result]} ")

    def _tell_slow(self, host: str, operation: str, seconds: float) -> None:
        """Without a terminal, a line now and then: a log shows that a slow operation goes on."""
        if seconds - self._told_at.get(host, 0) >= SLOW_SECONDS and self._bar.disable and self._console.level >= 0:
            self._told_at[host] = seconds
            self._console.say(f"{escape(host)}: {escape(operation)}: running for {lasted(seconds)}", "… ")


def took(outcome: Outcome) -> str:
    return lasted(outcome.seconds) if outcome.seconds >= 60 else f"{outcome.seconds:.1f} s"


def lasted(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
