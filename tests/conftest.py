"""gevent, which pyinfra runs on, must patch the standard library before anything imports it."""

from __future__ import annotations

import gc
import os
import shutil
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import gevent
import pyinfra_cli  # noqa: F401
import pytest
from gevent import monkey


class PlainOs(ModuleType):
    """`os`, whose `close` is not gevent's: that puts off the closing of each folder that shutil removes, and of large
    trees, as tests leave them, the open files would run out."""

    close = staticmethod(monkey.get_original("os", "close"))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


shutil.os = PlainOs("os")  # type: ignore[attr-defined]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-durations", metavar="FILE", help="write how long each module took to a Markdown file")
    parser.addoption(
        "--rewrite-golden", action="store_true", help="write what operations yield now to their golden cases"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let gevent wait for what other threads do: pytest-xdist's hands a worker its next test, and gevent takes a loop
    in which nothing is going to happen for a deadlock."""
    if hasattr(config, "workerinput"):
        gevent.spawn(gevent.sleep, 10**6)
    elif config.option.verbose > 0:
        config.pluginmanager.register(FailuresAtOnce(config))


def pytest_collection_finish() -> None:
    """Leave what is loaded, which stays until the end, out of each garbage collection."""
    gc.collect()
    gc.freeze()


class FailuresAtOnce:
    """Shows each failure as it happens, which a long run tells hours later."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal = self.config.pluginmanager.get_plugin("terminalreporter")
            terminal.write_line(f"\n{report.longreprtext}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests have measured, and write down what each module took."""
    reports = [report for each in terminalreporter.stats.values() for report in each if hasattr(report, "duration")]
    figures = [(report.nodeid, text) for report in reports for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.write_sep("=", "figures")
        for nodeid, text in dict.fromkeys(figures):
            terminalreporter.write_line(f"{nodeid.rpartition('::')[2]}: {text}")
    if file := terminalreporter.config.getoption("--write-durations"):
        seconds: dict[str, float] = defaultdict(float)
        tests: dict[str, set[str]] = defaultdict(set)
        for report in reports:
            module = report.nodeid.partition("::")[0]
            seconds[module] += report.duration
            tests[module].add(report.nodeid)
        rows = sorted(seconds, key=lambda module: -seconds[module])
        lines = ["| module | tests | seconds |", "| --- | --- | --- |"]
        lines += [f"| `{module}` | {len(tests[module])} | {seconds[module]:.0f} |" for module in rows]
        Path(file).write_text("\n".join(lines) + "\n")
