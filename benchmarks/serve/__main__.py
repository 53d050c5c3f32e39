"""python -m benchmarks.serve: a host with the whole stack, under load."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from benchmarks import PROJECT
from benchmarks.options import some_of
from benchmarks.serve import load, others, rates, site, visits
from benchmarks.serve.results import Findings, remarks, tables
from slipway.lab import hosts, packages
from slipway.lab.steps import Progress, StepFailed

NAME = "serve"
PARTS = ["script", "api", "held", "users", "visits"]
# Shares of the described load.
SHARES = (0.1, 0.5, 1)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of each way.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=1), help="Of each run.")
@click.option("--only", callback=some_of(PARTS), metavar="PART,PART", help=f"Some of {','.join(PARTS)}.")
@click.option("--quick", is_flag=True, help="Short runs and small numbers: a smoke test.")
@click.option("--keep", is_flag=True, help="Leave the host for the next run: slipway lab down removes it.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to it.")
def main(repeat: int, seconds: float, only: list[str], quick: bool, keep: bool, file: Path | None) -> None:
    """Load a provisioned host and other web servers on it, and release it under load; print rates as ratios."""
    os.chdir(PROJECT)
    os.environ.setdefault("SLIPWAY_LAB", "slipwayserve")
    # Remove the host on SIGTERM, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if quick:
        repeat, seconds = 1, 3
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    progress = Progress()
    if busy > cores / 4:
        progress.say(f"This machine is busy (load {busy:.1f} on {cores} cores): the ratios are less reliable")
    try:
        packages.need_root()
        packages.install(progress, load.PACKAGES)
        with tempfile.TemporaryDirectory() as folder, provisioned(Path(folder), keep, progress) as host:
            found = measure(host, Path(folder), only, repeat, seconds, quick, progress)
    except StepFailed as error:
        raise click.ClickException(str(error)) from None
    console = Console(highlight=False, width=120)
    for table in tables(found):
        console.print(table)
    for line in remarks(found):
        console.print(f"- {line}")
    if file:
        machine = {"load": busy, "cores": cores, "runs of each way": repeat, "seconds": seconds}
        file.write_text(json.dumps({**machine, **asdict(found)}, indent=2) + "\n")


@contextmanager
def provisioned(folder: Path, keep: bool, progress: Progress) -> Iterator[hosts.Host]:
    """A host with the whole stack and the other web servers; it is always removed, unless it is to be kept."""
    quiet = Progress(Console(quiet=True))
    try:
        with progress.step("Boot a host"):
            hosts.up([NAME], progress=quiet)
        os.environ["SLIPWAY_LAB_HOSTS"] = NAME
        site.make(folder)
        host = hosts.find(NAME)
        with progress.step("Provision it"):
            # All logins come from one address here. The other servers' ports are open, too.
            settings = ["nginx_login_rate_per_minute=0", f"firewall_allow={json.dumps(others.OPEN_PORTS)}"]
            options = [option for setting in settings for option in ("--data", setting)]
            site.slipway("apply", "lab", "--yes", *options)
            site.slipway("release", "lab", "--yes", folder=folder)
        with progress.step("Install and start the other web servers"):
            others.start(host)
        yield host
    finally:
        if not keep and any(host.name == NAME for host in hosts.status()):
            hosts.down([NAME], progress=quiet)


def measure(
    host: hosts.Host, folder: Path, parts: list[str], repeat: int, seconds: float, quick: bool, progress: Progress
) -> Findings:
    """The ways alternate, so that a temporary slowdown of the machine affects all."""
    found = Findings()
    token = site.token(host)
    if "script" in parts:
        for server in others.SERVERS:
            size = others.check(host, server, site.script().encode())
            progress.say(f"{server.way} sends the script in {size:,} bytes")
    for number in range(1, repeat + 1):
        turn = f"run {number} of {repeat}"
        if "script" in parts:
            with progress.step(f"A script by {len(others.SERVERS)} web servers, {turn}"):
                found.script += rates.script(host, others.SERVERS, seconds, http2=False)
                found.script_http2 += rates.script(host, others.SERVERS, seconds, http2=True)
        if "api" in parts:
            with progress.step(f"The API on its socket and through Nginx, {turn}"):
                found.proxied += rates.proxied(host, token, seconds)
        if "users" in parts:
            with progress.step(f"Users, {turn}"):
                found.users += rates.users(host, token, 3 * seconds, 1, logins=False)
                for share in SHARES:
                    found.users += rates.users(host, token, 3 * seconds, share, logins=True)
    others.stop(host)
    if "held" in parts:
        with progress.step("Held connections"):
            found.held.append(rates.held(host, 500 if quick else 10_000))
    if "visits" in parts:
        counts = (2, 1, 5_000) if quick else (20, 5, 200_000)
        found.visits.append(visits.visit(host, folder, *counts, progress))
    return found


if __name__ == "__main__":
    main()
