"""The evaluation of the provisioning benchmark."""

from __future__ import annotations

import io

from rich.console import Console

from benchmarks.provision.__main__ import parts
from benchmarks.provision.results import Run, ratio, remarks, summaries, table


def ran(way: str, seconds: float, changes: int = 0) -> Run:
    return Run(way, seconds, dpkg_seconds=10, plan_changes=changes, parts={})


def test_a_way_is_as_fast_as_the_median_of_its_runs_and_as_true_as_the_worst() -> None:
    runs = [ran("script", 30), ran("slipway", 40), ran("script", 20), ran("script", 90, changes=2)]
    script, slipway = summaries(runs)
    assert (script.way, script.runs, script.seconds, script.plan_changes) == ("script", 3, 30, 2)
    assert (slipway.way, slipway.runs) == ("slipway", 1)


def test_ratios_are_of_the_ways_that_were_measured() -> None:
    found = summaries([ran("script", 30), ran("slipway", 45)])
    assert ratio(found, "slipway", "script") == 1.5
    assert ratio(found, "slipway", "ansible") is None
    assert remarks(found) == ["slipway is 1.50 x script (the aim: at most 1.3)"]


def test_the_table_leaves_a_ratio_open_where_its_base_was_not_measured() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(table(summaries([ran("script", 30), ran("slipway", 45)])))
    row = next(line for line in out.getvalue().splitlines() if "slipway" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["slipway", "45.0", "1.50", "", "10", "0", "yes"]


def test_the_parts_of_a_time_lie_between_its_marks() -> None:
    output = "mark update 100.5\nGet:1\nmark install 102.0\nmark rest 110.0\nmark end 111.0\n"
    assert parts(output) == {"update": 1.5, "install": 8.0, "rest": 1.0}
