"""python -m benchmarks.converge: plans of hosts in sync, near and far, in each way."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from benchmarks import PROJECT
from benchmarks.converge import ways
from benchmarks.converge.link import distant
from benchmarks.converge.results import Run, remarks, summaries, table
from benchmarks.converge.ways import Way, measured
from benchmarks.provision import ways as provision
from slipway.lab import hosts, packages, snapshots
from slipway.lab.instance import Instance
from slipway.lab.steps import Progress, StepFailed, run

ROUND_TRIPS = (0, 100)
# All share the first one's disk, as overlays.
NAMES = [f"c{number}" for number in range(1, 201)]
LABEL = "provisioned"
# pyinfra plans only so many hosts: all of them would take minutes.
PYINFRA_HOSTS = 8
# How long a host needs to become idle, and how long its idle load is measured.
CALM_SECONDS, REST_SECONDS = 20, 20


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(min=1), help="Runs of each way.")
@click.option("--hosts", "count", default=20, show_default=True, type=click.IntRange(1, len(NAMES)), help="For many.")
@click.option("--quick", is_flag=True, help="One run each, 3 hosts: a smoke test.")
@click.option("--keep", is_flag=True, help="Leave the hosts for the next run: slipway lab down removes them.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to it.")
@click.option("--against", metavar="COMMIT", help="Compare only the plans of this version and that of a commit.")
def main(repeat: int, count: int, quick: bool, keep: bool, file: Path | None, against: str | None) -> None:
    """Plan converged hosts by Slipway, pyinfra and Ansible, near and far, and print what it takes as ratios."""
    os.chdir(PROJECT)
    os.environ.setdefault("SLIPWAY_LAB", "slipwayconv")
    # Remove the hosts on SIGTERM, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if quick:
        repeat, count = 1, min(count, 3)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        # It collects the temporary files that the ways leave.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            packages.need_root()
            runs = measure(repeat, NAMES[:count], keep, Progress(), against)
        except StepFailed as error:
            raise click.ClickException(str(error)) from None
    found = summaries(runs)
    console = Console(highlight=False, width=120)
    for round_trip in ROUND_TRIPS:
        console.print(table(found, round_trip))
    for line in remarks(found):
        console.print(f"- {line}")
    if file:
        machine = {"load": load, "cores": os.cpu_count(), "runs of each way": repeat}
        results = {**machine, "runs": [asdict(one) for one in runs], "medians": [asdict(one) for one in found]}
        file.write_text(json.dumps(results, indent=2) + "\n")


def measure(repeat: int, names: Sequence[str], keep: bool, progress: Progress, against: str | None) -> list[Run]:
    """One host in all ways; then, with the other hosts running, all of them. With `against`, only the plans of two
    versions."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 4:
        progress.say(f"This machine is busy (load {load:.1f} on {cores} cores): the ratios are less reliable")
    if against:
        with converged(names[:1], keep, progress) as host, tempfile.TemporaryDirectory() as folder:
            compared = ways.versions(host, against, Path(folder))
            return rounds([(way, [host]) for way in compared], repeat, progress)
    with progress.step("Install Ansible"):
        provision.install_ansible()
    with converged(names, keep, progress) as host, playbook_folder(host, progress) as folder:
        one = rounds([(way, [host]) for way in ways.one_host(host, folder)], repeat, progress)
        if len(names) == 1:
            return one
        others = copied(names, host, progress)
        many = [(ways.plan(), others), (ways.pyinfra(), others[:PYINFRA_HOSTS])]
        return one + rounds(many, repeat, progress)


@contextmanager
def converged(names: Sequence[str], keep: bool, progress: Progress) -> Iterator[hosts.Host]:
    """A host with the whole stack, alone. It and its copies are always removed, unless they are to be kept."""
    quiet = Progress(Console(quiet=True))
    first = names[0]
    try:
        there = {host.name: host for host in hosts.status()}
        hosts.down([name for name in NAMES[1:] if name in there], progress=quiet)
        if first in there and LABEL in there[first].snapshots:
            with progress.step("Restore the provisioned host"):
                snapshots.restore(LABEL, first, progress=quiet)
        else:
            hosts.down([first] if first in there else [], progress=quiet)
            with progress.step("Boot a fresh host"):
                hosts.up([first], progress=quiet)
            os.environ["SLIPWAY_LAB_HOSTS"] = first
            with progress.step("Provision it"):
                run("Provision the host", [*ways.SLIPWAY, "apply", "lab", "--yes"])
            with progress.step("Keep its disk"):
                hosts.stop(first, progress=quiet)
                snapshots.take(LABEL, first, progress=quiet)
                hosts.up([first], progress=quiet)
        yield hosts.find(first)
    finally:
        if not keep:
            there_now = [host.name for host in hosts.status() if host.name in NAMES]
            hosts.down(sorted(there_now, reverse=True), progress=quiet)


@contextmanager
def playbook_folder(host: hosts.Host, progress: Progress) -> Iterator[Path]:
    """The playbook's input, and a host on which neither the playbook nor Slipway has anything to change."""
    # As the other ways do: root can't log in.
    with provision.ansible_folder(host, ansible_user="admin", ansible_become=True) as folder:
        with progress.step("Run the playbook a first time"):
            command = provision.ansible_command(folder)
            run("ansible-playbook", command, env=provision.ansible_environment(folder))
        yield folder


def copied(names: Sequence[str], host: hosts.Host, progress: Progress) -> list[hosts.Host]:
    with progress.step(f"Boot {len(names) - 1} more hosts on its disk"):
        snapshots.copy(LABEL, host, names[1:])
        hosts.up(names, progress=Progress(Console(quiet=True)))
    return [hosts.find(name) for name in names]


def rounds(measuring: Sequence[tuple[Way, Sequence[hosts.Host]]], repeat: int, progress: Progress) -> list[Run]:
    """Alternate the ways at each distance, `repeat` times, so that a temporary slowdown of the machine affects all."""
    most = max((its_hosts for _, its_hosts in measuring), key=len)
    with progress.step("Wait until the hosts are idle"):
        time.sleep(CALM_SECONDS)
        at_rest = ways.cpu_at_rest(most, REST_SECONDS) / len(most)
    for way, its_hosts in measuring:
        if way.remembers:
            with progress.step(f"{way.name}, once: to fill the cache"):
                measured(way, its_hosts, 0, 0)
    runs = []
    for round_trip in ROUND_TRIPS:
        with at_distance(most, round_trip):
            for number in range(repeat):
                for way, its_hosts in measuring:
                    title = f"{way.name}, hosts: {len(its_hosts)}, {round_trip} ms, run {number + 1} of {repeat}"
                    with progress.step(title):
                        runs.append(measured(way, its_hosts, round_trip, at_rest * len(its_hosts)))
    return runs


def at_distance(there: Sequence[hosts.Host], round_trip: int) -> AbstractContextManager[None]:
    if not round_trip:
        return nullcontext()
    table = f"slipway_link_{Instance().name}"
    return distant(table, round_trip / 1000, there[0].ssh_port, [host.address for host in there])


if __name__ == "__main__":
    main()
