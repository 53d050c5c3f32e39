"""Throwaway hosts behind a load balancer, each with a share of a processor."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import PROJECT
from benchmarks.serve.site import ADMIN, LOGIN, SLIPWAY
from slipway.lab import hosts
from slipway.lab.instance import Instance
from slipway.lab.nspawn import cgroups_of, machine_name
from slipway.lab.steps import Progress, StepFailed, run
from slipway.secrets.authority import create

BALANCER, DATABASE = "balancer", "database"
GIVEN = ("JWT_SECRET", "ADMIN_PASSWORD", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD")
QUIET = Progress(Console(quiet=True))
TOP = Path("/sys/fs/cgroup")
# In microseconds: short, as a server that is throttled waits for the next one.
PERIOD = 20_000


def servers(count: int) -> list[str]:
    return [f"app{number}" for number in range(1, count + 1)]


@contextmanager
def balanced(count: int, progress: Progress) -> Iterator[None]:
    """A load balancer, so many application servers, and a database server, provisioned. They are always removed, with
    what `give` has made."""
    names = [BALANCER, *servers(count), DATABASE]
    try:
        with progress.step(f"Boot {len(names)} hosts"):
            hosts.up(names, progress=QUIET)
            hosts.connect()
        os.environ |= {f"SLIPWAY_SECRET_{name}": value for name, value in create(datetime.now(UTC)).items()}
        os.environ |= {f"SLIPWAY_SECRET_{name}": secrets.token_hex(32) for name in GIVEN}
        each = ",".join(servers(count))
        os.environ["SLIPWAY_LAB_HOSTS"] = ",".join(names)
        os.environ["SLIPWAY_LAB_ROLES"] = f"lb={BALANCER} web={each} app={each} db={DATABASE}"
        with progress.step("Provision them"):
            run("slipway apply", [*SLIPWAY, "apply", "lab", "--yes"], cwd=PROJECT)
        yield
    finally:
        there = [host.name for host in hosts.status() if host.name in names]
        hosts.down(sorted(there), progress=QUIET)
        _forget(names)


def give(name: str, share: float) -> None:
    """Limit a host to a share of one processor, until it is gone."""
    group = _own(name)
    if (TOP / "cgroup.procs").exists():
        (group / "cpu.max").write_text(f"{round(PERIOD * share)} {PERIOD}")
        return
    # Where the kernel has a hierarchy for each resource, the lab uses systemd's alone. Processes join another one here,
    # and so do those that they start.
    limits = TOP / "cpu" / group.name
    limits.mkdir(exist_ok=True)
    for file in group.rglob("cgroup.procs"):
        for process in file.read_text().split():
            # It may have ended.
            with suppress(ProcessLookupError):
                (limits / "cgroup.procs").write_text(process)
    (limits / "cpu.cfs_period_us").write_text(str(PERIOD))
    (limits / "cpu.cfs_quota_us").write_text(str(round(PERIOD * share)))


def _own(name: str) -> Path:
    return cgroups_of(machine_name(Instance(), name))[0]


def _forget(names: Sequence[str]) -> None:
    """Remove what `give` has made for hosts that are gone."""
    for name in names:
        with suppress(FileNotFoundError):
            (TOP / "cpu" / _own(name).name).rmdir()


def token() -> str:
    """Of the administrator, whose password was given."""
    login = {"email": ADMIN, "password": os.environ["SLIPWAY_SECRET_ADMIN_PASSWORD"]}
    answer = hosts.site(hosts.find(BALANCER)).post(LOGIN, json=login)
    if answer.status_code != 200:
        raise StepFailed("Log in", f"found the status {answer.status_code}, expected 200")
    return str(answer.json()["token"])


def slipway(*arguments: str) -> None:
    verb, *rest = arguments
    run(f"slipway {verb}", [*SLIPWAY, verb, "lab", *rest], cwd=PROJECT)
