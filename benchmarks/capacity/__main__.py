"""python -m benchmarks.capacity: how many servers so many users take, by a model that is fed with what a request takes
in the lab, and compared with 1, 2 and 3 application servers there."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks import PROJECT
from benchmarks.capacity import hosts as servers
from benchmarks.capacity.hosts import BALANCER, DATABASE
from benchmarks.capacity.model import TARGET, Demands, Needed, Size, capacity, limits, needed, times
from benchmarks.converge.ways import remote_cpu
from benchmarks.serve import load
from benchmarks.serve.site import COMPANIES
from slipway.lab import hosts, packages
from slipway.lab.steps import Progress, StepFailed, run

USERS = (10_000, 50_000, 1_000_000)
# The share of one processor that an application server gets: with three of them the others and this machine's load
# generator still have more than they need on two processors.
SHARE, OTHERS = 0.15, 1.0
# Of the capacity that the model says, at which times are compared.
LOADED = 0.6


@dataclass(frozen=True)
class Compared:
    """So many application servers at full load, in requests a second; and the 99th percentile at LOADED, in ms."""

    servers: int
    model: float
    measured: float
    model_p99: float
    measured_p99: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(min=1), help="Of each run.")
@click.option("--cores", default=4.0, show_default=True, help="Processors of each server that the users are for.")
@click.option("--gigabits", default=1.0, show_default=True, help="The load balancer's network.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to it.")
def main(seconds: float, cores: float, gigabits: float, file: Path | None) -> None:
    """Measure what an API request takes on each kind of server; say how many servers 10,000, 50,000 and 1,000,000 users
    take; and compare the model with 1, 2 and 3 application servers."""
    os.chdir(PROJECT)
    os.environ.setdefault("SLIPWAY_LAB", "capacity")
    # Remove the hosts on SIGTERM, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    progress = Progress()
    try:
        packages.need_root()
        packages.install(progress, load.PACKAGES)
        with servers.balanced(3, progress):
            for name in servers.servers(3):
                servers.give(name, SHARE)
            demands = measured(seconds, progress)
            compared = [*compare(demands, seconds, progress)]
    except StepFailed as error:
        raise click.ClickException(str(error)) from None
    size = Size(cores, gigabits * 1e9)
    wanted, most = [needed(users, demands, size) for users in USERS], limits(demands, size)
    console = Console(highlight=False, width=120)
    for table in tables(demands, compared, wanted, most):
        console.print(table)
    if file:
        found = {"demands": asdict(demands), "limits": most, "users": [*map(asdict, wanted)]}
        found["compared"] = [*map(asdict, compared)]
        file.write_text(json.dumps(found, indent=2) + "\n")


def asked(seconds: float, clients: int, rate: float = 0) -> list[str]:
    balancer = hosts.find(BALANCER)
    where = f"{balancer.address}:{443 + balancer.port_offset}"
    headers = [f"Authorization: Bearer {servers.token()}"]
    url = f"https://{balancer.domain}{COMPANIES}"
    return load.command(url, clients=clients, seconds=seconds, rate=rate, address=where, headers=headers)


def measured(seconds: float, progress: Progress) -> Demands:
    """What a request takes, with all application servers in rotation."""
    kinds = {BALANCER: [BALANCER], "servers": servers.servers(3), DATABASE: [DATABASE]}
    with progress.step("Measure what a request takes"):
        before, bytes_before = _processors(kinds), _bytes()
        found = load.loaded("three servers", asked(seconds, 24))
        after = _processors(kinds)
    # h2load's warm-up counts as well.
    requests = found.requests * (seconds + load.WARM_UP_SECONDS) / seconds
    each = {kind: (after[kind] - before[kind]) / requests for kind in kinds}
    return Demands(each[BALANCER], each["servers"], each[DATABASE], (_bytes() - bytes_before) / requests)


def compare(demands: Demands, seconds: float, progress: Progress) -> Iterator[Compared]:
    for count in (1, 2, 3):
        with progress.step(f"Load {count} of 3 application servers"), in_rotation(count):
            full = load.loaded(f"{count} servers", asked(seconds, 8 * count))
            expected = capacity(demands, count, SHARE, OTHERS)
            rate = LOADED * expected
            part = load.timed(f"{count} servers, a part", asked(seconds, 4 * count, rate))
        model = load.percentile(times(rate, demands, count, SHARE, OTHERS), 99) * 1000
        yield Compared(count, expected, full.rate, model, part.p99)


@contextmanager
def in_rotation(count: int) -> Iterator[None]:
    """Only so many application servers get requests."""
    others = servers.servers(3)[count:]
    for name in others:
        servers.slipway("drain", name)
    try:
        yield
    finally:
        for name in others:
            servers.slipway("undrain", name)


def _processors(kinds: dict[str, list[str]]) -> dict[str, float]:
    return {kind: remote_cpu([hosts.find(name) for name in names]) for kind, names in kinds.items()}


def _bytes() -> int:
    """What the load balancer's network has carried, to and from visitors and servers."""
    script = "cat /sys/class/net/host0/statistics/rx_bytes /sys/class/net/host0/statistics/tx_bytes"
    return sum(map(int, run("Read the counters", hosts.find(BALANCER).ssh_argv(script)).split()))


def tables(demands: Demands, compared: list[Compared], wanted: list[Needed], most: dict[str, int]) -> Iterator[Table]:
    took = Table("kind", "ms of a processor for a request", f"users at {TARGET:.0%} of one", box=MARKDOWN)
    milliseconds = {kind: f"{value * 1000:.2f}" for kind, value in demands.processors().items()}
    for kind, users in most.items():
        took.add_row(kind, milliseconds.get(kind, ""), f"{users:,}")
    yield took
    beside = Table("application servers", "req/s, model", "measured", "p99 ms, model", "measured", box=MARKDOWN)
    for one in compared:
        rates = f"{one.model:.0f}", f"{one.measured:.0f} ({one.measured / one.model:.2f})"
        beside.add_row(str(one.servers), *rates, f"{one.model_p99:.0f}", f"{one.measured_p99:.0f}")
    yield beside
    kinds = [*wanted[0].servers]
    servers = Table("users", "req/s", *kinds, box=MARKDOWN)
    for need in wanted:
        servers.add_row(f"{need.users:,}", f"{need.requests:,.0f}", *(str(need.servers[kind]) for kind in kinds))
    yield servers


if __name__ == "__main__":
    main()
