"""The output of a run: on a terminal, on a narrow one, and without one."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich import console as rich_console

from slipway.engine.notes import Diff, Note
from slipway.engine.outcome import Change, Outcome
from slipway.ui.console import Applying, Console
from slipway.ui.plan_report import report_of

LONG = "--- /etc/long\n+++ /etc/long\n@@ -0,0 +1,99 @@\n" + "\n".join(f"+line {n}" for n in range(99))
DIFF = "--- /etc/a\n+++ /etc/a\n@@ -1,2 +1,2 @@\n same\n-old [bold]\n+new \x1b[2J"
CHANGES = [
    Change("one", "Allow only ssh, the web and firewall_allow", [Note("+ allow 22/tcp")], component="firewall"),
    Change("one", "Configure Nginx", [Diff(DIFF)], component="nginx"),
    Change("one", "Reload Nginx", [Note("follows: Configure Nginx")], is_reaction=True, component="nginx"),
    Change("one", "Write it at length", [Diff(LONG)], component="backend"),
]
SESSION = SimpleNamespace(
    planner=SimpleNamespace(
        operations=lambda: [("one", change.operation) for change in CHANGES] + [("one", "Start Nginx")]
    ),
    connections=SimpleNamespace(active_hosts=lambda: [SimpleNamespace(name="one")]),
)


def look(level=0, **arguments):
    """A console, and a function that returns what has been shown on it."""
    out = io.StringIO()
    console = Console()
    console.level = level
    # What rich makes of the environment is not of interest here.
    console.__dict__["output"] = rich_console.Console(file=out, highlight=False, _environ={}, **arguments)
    return console, out.getvalue


def planned(console, outcome=None):
    outcome = outcome or Outcome(CHANGES, [("one", "skipped swap: a container")], 5, 1.5)
    console.plan(report_of("lab", {"one": ["web"]}, outcome), SESSION)


def test_without_a_terminal_a_plan_is_plain_whole_lines():
    console, shown = look(width=40)
    planned(console)
    lines = shown().splitlines()
    assert lines[:5] == [
        "one  web",
        "  - skipped swap: a container",
        "  firewall",
        "    ~ Allow only ssh, the web and firewall_allow",
        "      + allow 22/tcp",
    ]
    assert "    ↻ Reload Nginx" in lines
    assert lines[-1] == "4 to change of 5 operations, compared in 1.5 s"
    assert "\x1b" not in shown()


def test_on_40_columns_no_line_is_longer_and_none_begins_left_of_its_own():
    console, shown = look(width=40, force_terminal=True, color_system=None)
    planned(console)
    lines = shown().splitlines()
    assert max(map(len, lines)) <= 40
    first = lines.index("    ~ Allow only ssh, the web and")
    assert lines[first + 1] == "      firewall_allow"


def test_a_hosts_output_has_no_control_sequences():
    console, shown = look(width=80)
    planned(console)
    assert "+new \\x1b[2J" in shown()
    assert "-old [bold]" in shown(), "nor rich"


def test_a_diff_is_coloured_on_a_terminal_and_not_without_colours():
    console, shown = look(width=80, force_terminal=True, color_system="standard")
    planned(console)
    assert "\x1b[31m-old" in shown()
    console, shown = look(width=80, force_terminal=True, color_system="standard", no_color=True)
    planned(console)
    assert "\x1b[31m" not in shown()


def test_a_long_diff_is_cut_and_whole_when_all_is_asked_for():
    console, shown = look(width=80)
    planned(console)
    assert "more lines: --verbose" in shown()
    assert "+line 98" not in shown()
    console, shown = look(level=1, width=80)
    planned(console)
    assert "+line 98" in shown()
    assert "  = Start Nginx" in shown().splitlines()


def applied(console, outcome):
    with Applying(console, SESSION) as applying:
        applying.tell("one", "Start Nginx", "running", 0)
        applying.tell("one", "Start Nginx", "ok", 0)
        applying.tell("one", "Configure Nginx", "running", 0)
        applying.tell("one", "Configure Nginx", "changed", 2)
        applying.tell("one", "Reload Nginx", "running", 0)
        applying.tell("one", "Reload Nginx", "failed", 0)
    console.done(outcome)


@pytest.mark.parametrize(
    ("level", "marks"),
    [(-1, "✗"), (0, "✓✗"), (1, "=✓✗")],
)
def test_an_apply_tells_of_each_operation_what_is_asked_for(level, marks):
    console, shown = look(level=level, width=80)
    applied(console, Outcome([], [], 5, 3.0))
    assert "".join(line[0] for line in shown().splitlines() if line[0] in "=✓✗") == marks
    assert "\x1b" not in shown()


def test_an_apply_ends_with_what_has_changed_and_how_long_it_took():
    console, shown = look(width=80)
    console.done(Outcome(CHANGES, [], 5, 3.0))
    assert shown().splitlines() == [
        "done: 4 of 5 operations changed something, 3.0 s",
        "  one: firewall 1, nginx 2, backend 1",
    ]
    console, shown = look(width=80)
    console.done(Outcome(CHANGES, [], 5, 185.0, {"two": "no route"}))
    assert shown().startswith("incomplete: 4 of 5 operations changed something, 3 min 5 s")


def test_on_a_terminal_the_line_of_a_host_says_what_it_is_at():
    console, shown = look(width=60, force_terminal=True, color_system=None)
    with Applying(console, SESSION) as applying:
        applying.tell("one", "Configure Nginx", "running", 0)
        applying._bar.refresh()
        assert "0/5 one: Configure Nginx" in shown()


def test_on_a_terminal_a_slow_operation_shows_how_long_it_runs():
    console, shown = look(width=80, force_terminal=True, color_system=None)
    with Applying(console, SESSION) as applying:
        applying.tell("one", "Start Nginx", "running", 4)
        applying._bar.refresh()
        assert "one: Start Nginx," not in shown()
        applying.tell("one", "Start Nginx", "running", 65)
        applying._bar.refresh()
        assert "one: Start Nginx, 1 min 5 s" in shown()
    assert "…" not in shown()


@pytest.mark.parametrize(("level", "times"), [(-1, []), (0, ["30 s", "1 min 1 s"])])
def test_without_a_terminal_a_slow_operation_is_reported_now_and_then(level, times):
    console, shown = look(level=level, width=80)
    with Applying(console, SESSION) as applying:
        for seconds in (1, 29, 30, 31, 59, 61):
            applying.tell("one", "Build and upload (3 of 9 MiB sent)", "running", seconds)
        applying.tell("one", "Build and upload", "ok", 62)
        # The next operation has a time of its own.
        applying.tell("one", "Start Nginx", "running", 2)
    lines = [f"… one: Build and upload (3 of 9 MiB sent): running for {time}" for time in times]
    assert shown().splitlines() == lines
