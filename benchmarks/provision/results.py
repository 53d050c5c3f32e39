"""The measurements and their evaluation: medians, ratios, a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

# A way, the way that it is compared with, and the largest ratio.
AIMS = [("slipway", "script", 1.3), ("slipway", "ansible", 0.5)]


@dataclass(frozen=True)
class Run:
    """One fresh host, provisioned in one way and checked afterwards.

    `dpkg_seconds` is the time to unpack and configure packages, `plan_changes` what `slipway plan` would still change.
    """

    way: str
    seconds: float
    dpkg_seconds: int
    plan_changes: int
    parts: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """Medians of a way's runs; the most changes that a plan found after any of them."""

    way: str
    runs: int
    seconds: float
    dpkg_seconds: float
    plan_changes: int
    parts: dict[str, float]


def summaries(runs: Iterable[Run]) -> list[Summary]:
    """One for each way, in the order in which they first ran."""
    by_way: dict[str, list[Run]] = {}
    for run in runs:
        by_way.setdefault(run.way, []).append(run)
    return [
        Summary(
            way,
            len(its),
            median(run.seconds for run in its),
            median(run.dpkg_seconds for run in its),
            max(run.plan_changes for run in its),
            {part: median(run.parts[part] for run in its) for part in its[0].parts},
        )
        for way, its in by_way.items()
    ]


def ratio(found: Sequence[Summary], way: str, base: str) -> float | None:
    """The time of a way as a multiple of another's; None if one of them was not measured."""
    seconds = {summary.way: summary.seconds for summary in found}
    return seconds[way] / seconds[base] if way in seconds and base in seconds else None


def table(found: Sequence[Summary]) -> Table:
    shown = Table("way", *(("seconds", "of script", "of ansible", "in dpkg", "plan changes", "verified")))
    for column in shown.columns[1:-1]:
        column.justify = "right"
    for summary in found:
        multiples = [ratio(found, summary.way, base) for base in ("script", "ansible")]
        shown.add_row(
            summary.way,
            f"{summary.seconds:.1f}",
            *("" if multiple is None else f"{multiple:.2f}" for multiple in multiples),
            f"{summary.dpkg_seconds:.0f}",
            str(summary.plan_changes),
            "yes",  # one that is not ends the benchmark
        )
    return shown


def remarks(found: Sequence[Summary]) -> list[str]:
    """The results next to the aims, and the known parts of a time."""
    lines = []
    for way, base, most in AIMS:
        multiple = ratio(found, way, base)
        if multiple is not None:
            lines.append(f"{way} is {multiple:.2f} x {base} (the aim: at most {most})")
    for summary in found:
        if summary.parts:
            parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in summary.parts.items())
            lines.append(f"{summary.way}: {parts}")
    return lines
