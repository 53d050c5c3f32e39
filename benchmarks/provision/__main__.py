"""python -m benchmarks.provision: a fresh host for each way, and their times as ratios."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import click
from rich.console import Console

from benchmarks import PROJECT
from benchmarks.options import some_of
from benchmarks.provision import ways
from benchmarks.provision.results import Run, remarks, summaries, table
from slipway.lab import hosts, packages
from slipway.lab.steps import Progress, StepFailed, run

WAYS: dict[str, Callable[[hosts.Host], str]] = {
    "script": ways.script,
    "slipway": ways.slipway,
    "pyinfra": ways.pyinfra,
    "ansible": ways.ansible,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(min=1), help="Fresh hosts for each way.")
@click.option("--only", callback=some_of(WAYS), metavar="WAY,WAY", help=f"Some of {','.join(WAYS)}.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to it.")
def main(repeat: int, only: list[str], file: Path | None) -> None:
    """Provision fresh hosts in each way, verify them, and print the ways' times as ratios."""
    os.chdir(PROJECT)
    os.environ.setdefault("SLIPWAY_LAB", "slipwaybench")
    # Remove the hosts on SIGTERM, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        runs = measure(only, repeat)
    except StepFailed as error:
        raise click.ClickException(str(error)) from None
    found = summaries(runs)
    console = Console(highlight=False)
    console.print(table(found))
    for line in remarks(found):
        console.print(line)
    if file:
        results = {"runs": [asdict(one) for one in runs], "medians": [asdict(summary) for summary in found]}
        file.write_text(json.dumps(results, indent=2) + "\n")


def measure(names: list[str], repeat: int) -> list[Run]:
    """Alternate the ways, `repeat` times, so that a temporary slowdown of the machine affects
    all of them."""
    progress = Progress()
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 4:
        progress.say(f"This machine is busy (load {load:.1f} on {cores} cores): the ratios are less reliable")
    packages.install(progress, {"gpg": "gnupg"})
    if "ansible" in names:
        with progress.step("Install Ansible"):
            ways.install_ansible()
    runs: list[Run] = []
    for name in names * repeat:
        with fresh_host(name, progress) as host:
            if not runs:
                with progress.step("Fill npm's cache"), tempfile.TemporaryDirectory() as folder:
                    run("Build the release", ways.release_command(host, Path(folder) / "release.tar.gz"))
            runs.append(measured(name, host, progress))
    return runs


@contextmanager
def fresh_host(name: str, progress: Progress) -> Iterator[hosts.Host]:
    """A new host, alone unless the lab has others; always removed."""
    quiet = Progress(Console(quiet=True))
    if any(host.name == name for host in hosts.status()):
        hosts.down([name], progress=quiet)
    try:
        with progress.step(f"Boot a fresh host for {name}"):
            hosts.up([name], user="root", progress=quiet)
        os.environ["SLIPWAY_LAB_HOSTS"] = name
        yield hosts.find(name)
    finally:
        hosts.down([name], progress=quiet)


def measured(name: str, host: hosts.Host, progress: Progress) -> Run:
    """Raises StepFailed with the way's name if it fails or its host does not pass verify."""
    # Pending writes of the last host would slow this one down.
    os.sync()
    with progress.step(f"Provision it by {name}"):
        began = time.monotonic()
        output = WAYS[name](host)
        seconds = time.monotonic() - began
    slipway = [sys.executable, "-m", "slipway"]
    with progress.step("Verify it"):
        run(f"Verify the host that {name} provisioned", [*slipway, "verify", "lab"])
    with progress.step("Plan it"):
        # 2 means pending changes.
        plan = run("Plan", ["sh", "-c", '"$@" || [ $? = 2 ]', "plan", *slipway, "plan", "lab", "--json", "-"])
    return Run(name, seconds, dpkg_seconds(host), json.loads(plan)["totals"]["changes"], parts(output))


def dpkg_seconds(host: hosts.Host) -> int:
    """The time of dpkg on the host, from apt's log, which has whole seconds."""
    log = run("Read apt's log", host.ssh_argv("grep -h -E '^(Start|End)-Date:' /var/log/apt/history.log"))
    times = [datetime.fromisoformat("T".join(line.split()[1:])) for line in log.splitlines()]
    return sum((end - start).seconds for start, end in zip(times[::2], times[1::2], strict=True))


def parts(output: str) -> dict[str, float]:
    """Seconds from each `mark NAME TIME` line to the next, by the first one's name."""
    marks = [line.split()[1:] for line in output.splitlines() if line.startswith("mark ")]
    return {name: float(end) - float(start) for (name, start), (_, end) in pairwise(marks)}


if __name__ == "__main__":
    main()
