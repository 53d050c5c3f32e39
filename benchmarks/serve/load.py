"""Load by h2load, of Debian's nghttp2-client, and its results."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.serve.results import Load
from slipway.lab.hosts import Host
from slipway.lab.steps import StepFailed, run

PACKAGES = {"h2load": "nghttp2-client"}
WARM_UP_SECONDS = 2
# Debian 12's h2load 1.52 sometimes stops all its clients at its end and hangs. It is run again.
PATIENCE_SECONDS, TRIES = 15, 3
# The exit code of timeout(1) for a command that it has ended.
TIMED_OUT = 124
# Runs a command and returns its output.
Runner = Callable[[str, Sequence[str]], str]


def here(step: str, command: Sequence[str]) -> str:
    return run(step, command)


def on(host: Host) -> Runner:
    """Runs commands on the host itself, where the backend's socket is."""
    return lambda step, command: run(step, host.ssh_argv("ulimit -n 20000;", *map(_quoted, command)))


def _quoted(argument: str) -> str:
    return "'" + argument.replace("'", "'\\''") + "'"


def command(
    *urls: str,
    clients: int,
    seconds: float,
    rate: float = 0,
    address: str = "",
    socket: str = "",
    headers: Sequence[str] = (),
    body: Path | None = None,
    http2: bool = False,
) -> list[str]:
    """An h2load command: as fast as possible, or `rate` requests a second by all clients together, one after the other
    and evenly: each opens its connection when its turn comes, and keeps it until its last request."""
    options = ["-c", str(clients)]
    if rate:
        options += ["-n", str(max(clients, round(rate * seconds))), f"--rps={rate / clients:.6g}"]
        options += ["-r", "1", f"--rate-period={1000 / rate:.0f}ms"]
    else:
        options += ["-D", f"{seconds:g}", f"--warm-up-time={WARM_UP_SECONDS}"]
    options += [] if http2 else ["--h1"]
    options += [f"--connect-to={address}"] if address else []
    options += ["-B", f"unix:{socket}"] if socket else []
    options += ["-d", str(body)] if body else []
    for header in headers:
        options += ["-H", header]
    return ["h2load", *options, *urls]


def loaded(way: str, argv: Sequence[str], runner: Runner = here) -> Load:
    """Raises StepFailed if no request was answered."""
    if "-D" not in argv:
        return parsed(way, argv, runner(f"Load {way}", argv))
    seconds = float(argv[argv.index("-D") + 1]) + WARM_UP_SECONDS + PATIENCE_SECONDS
    for tries_left in reversed(range(TRIES)):
        try:
            return parsed(way, argv, runner(f"Load {way}", ["timeout", f"{seconds:g}", *argv]))
        except StepFailed as error:
            if error.code != TIMED_OUT or not tries_left:
                raise
    raise AssertionError


def timed(way: str, argv: Sequence[str]) -> Load:
    """The same, with each request's time."""
    with tempfile.NamedTemporaryFile() as log:
        found = loaded(way, [argv[0], f"--log-file={log.name}", *argv[1:]])
        times = durations(Path(log.name).read_text())
    return replace(found, median=percentile(times, 50), p99=percentile(times, 99))


def parsed(way: str, argv: Sequence[str], output: str) -> Load:
    """h2load's summary."""
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", output, re.MULTILINE)
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", _line(output, "requests:"))}
    if not rate or not counts.get("succeeded"):
        raise StepFailed(f"Load {way}", "no request was answered", argv=argv, output=output)
    return Load(way, int(argv[argv.index("-c") + 1]), counts["total"], counts["failed"], float(rate[1]))


def _line(output: str, start: str) -> str:
    return next((line for line in output.splitlines() if line.startswith(start)), "")


def durations(log: str) -> list[float]:
    """Milliseconds of the answered requests, from h2load's log: start, status and microseconds in a line."""
    fields = (line.split("\t") for line in log.splitlines())
    return sorted(int(duration) / 1000 for _, status, duration, *_ in fields if status.startswith("2"))


def percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0
