"""The result of a first hour: its steps, the questions, and the aims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import MARKDOWN
from rich.table import Table

# From a clone to a response of the project in the lab.
MAX_MINUTES, MAX_QUESTIONS = 5.0, 6


@dataclass(frozen=True)
class Step:
    """What was typed, and how long it took."""

    typed: str
    seconds: float


@dataclass(frozen=True)
class FirstHour:
    project: str
    steps: Sequence[Step]
    questions: int

    @property
    def minutes(self) -> float:
        return sum(step.seconds for step in self.steps) / 60

    @property
    def missed(self) -> list[str]:
        """The aims that were missed."""
        lines = [f"{self.project}: {self.minutes:.1f} minutes (aim: ≤ {MAX_MINUTES:g})"] * (self.minutes > MAX_MINUTES)
        asked = f"{self.project}: {self.questions} questions (aim: ≤ {MAX_QUESTIONS})"
        return lines + [asked] * (self.questions > MAX_QUESTIONS)


def table(found: Sequence[FirstHour]) -> Table:
    shown = Table(box=MARKDOWN)
    for title in ("project", "typed", "seconds", "questions"):
        shown.add_column(title, justify="right" if title in ("seconds", "questions") else "left", no_wrap=True)
    for one in found:
        for step in one.steps:
            asked = str(one.questions) if step.typed.startswith("slipway init") else ""
            shown.add_row(one.project, step.typed, f"{step.seconds:.1f}", asked)
        shown.add_row(one.project, "in all", f"{one.minutes * 60:.1f}", str(one.questions))
    return shown
