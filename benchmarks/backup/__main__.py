"""python -m benchmarks.backup: what a server that dies loses, restores to a second, backups beside MongoDB's own
tools, and a fresh host in place of a lost one."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from benchmarks import PROJECT
from benchmarks.backup.results import Findings, Loss, Rebuilt, Second, Size, lines, tables
from benchmarks.backup.writing import Writer, expected, fill, filled, found, on
from benchmarks.options import some_of
from benchmarks.serve import load
from benchmarks.serve.site import COMPANIES, SLIPWAY, token
from slipway.lab import hosts, packages, snapshots
from slipway.lab.hosts import Host
from slipway.lab.record import LAB_USER
from slipway.lab.steps import Progress, StepFailed, run

PARTS = ["loss", "second", "size", "rest", "rebuild"]
# The server; another one, on which it is restored; and where the far repository is.
SERVER, SPARE, STORE = "server", "spare", "store"
LABEL = "provisioned"
PASSWORD = "of-the-repositories-of-a-benchmark"  # noqa: S105
PROGRAM, STATE = "/usr/lib/slipway/backup", "/var/lib/slipway/backup/state.json"
# Whether the backup that the first apply begins is complete.
FIRST = f"""grep -qs '"full"' {STATE} && ! systemctl is-active -q slipway-backup"""
# A death comes so many seconds after the writer has begun: slices are 50 s apart.
DEATH = (60, 140)
RATE, CLIENTS, P99_SECONDS = 40, 8, 15
QUIET = Progress(Console(quiet=True))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeat", default=20, show_default=True, type=click.IntRange(min=1), help="Deaths, and restores.")
@click.option("--gigabytes", default=1.0, show_default=True, help="Documents for the comparison with MongoDB's tools.")
@click.option("--only", callback=some_of(PARTS), metavar="PART,PART", help=f"Some of {','.join(PARTS)}.")
@click.option("--seed", default=1, show_default=True, help="Of the random moments.")
@click.option("--keep", is_flag=True, help="Leave the hosts: slipway lab down --all removes them.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to it.")
def main(repeat: int, gigabytes: float, only: list[str], seed: int, keep: bool, file: Path | None) -> None:
    """Let a server die under writes, restore it to random seconds, compare backups with mongodump, and rebuild it."""
    if "rebuild" in only and "size" not in only:
        raise click.UsageError("--only: found rebuild without size, expected both: it restores what size has measured")
    os.chdir(PROJECT)
    os.environ.setdefault("SLIPWAY_LAB", "backupbench")
    os.environ["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    # Remove the hosts on SIGTERM, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    progress, chance = Progress(), random.Random(seed)  # noqa: S311
    try:
        packages.need_root()
        packages.install(progress, load.PACKAGES)
        with provisioned("loss" in only, keep, progress) as settings:
            its = Findings()
            if "rest" in only:
                its.resident = [*resident(progress)]
            if "second" in only:
                its.seconds = [*restored(repeat, settings, chance, progress)]
            if "loss" in only:
                its.losses = [*died(repeat, settings, chance, progress)]
            if "size" in only:
                its.size = compared(gigabytes, settings, progress)
            if "rebuild" in only:
                its.rebuilt = rebuilt(settings, progress)
    except StepFailed as error:
        raise click.ClickException(str(error)) from None
    console = Console(highlight=False, width=120)
    for table in tables(its):
        console.print(table)
    if file:
        summary = {"load": os.getloadavg()[0], "lines": [*lines(its)], **asdict(its)}
        file.write_text(json.dumps(summary, indent=2) + "\n")


# --- The hosts -------------------------------------------------------------------------------------------------------


@contextmanager
def provisioned(with_spare: bool, keep: bool, progress: Progress) -> Iterator[list[str]]:
    """The hosts, and the options that switch backups on; the hosts are always removed, unless they are to be kept."""
    names = [SERVER, STORE, *([SPARE] if with_spare else [])]
    try:
        with progress.step("Boot the hosts"):
            hosts.up(names, progress=QUIET)
            hosts.connect()
        settings = switched_on(hosts.find(STORE))
        if with_spare:
            with progress.step("Provision the spare host, and keep its disk"):
                slipway(SPARE, "apply", "--yes", *settings)
                hosts.stop(SPARE, progress=QUIET)
                snapshots.take(LABEL, SPARE, progress=QUIET)
        with progress.step("Provision the server, and back it up"):
            slipway(SERVER, "apply", "--yes", *settings)
            on(hosts.find(SERVER), f"for second in $(seq 600); do {FIRST} && exit; sleep 1; done; exit 1")
        yield settings
    finally:
        if not keep:
            there = [host.name for host in hosts.status() if host.name in (SERVER, STORE, SPARE)]
            hosts.down(sorted(there), progress=QUIET)


def switched_on(store: Host) -> list[str]:
    """A repository on the server's own disk, and one that is reached by SFTP."""
    key = on(store, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    os.environ["SLIPWAY_SECRET_BACKUP_SSH_KEY"] = Path(store.key_file).read_text()
    given = {
        "backup_repositories": {"near": "/srv/backup", "far": f"sftp:{LAB_USER}@{store.address}:backup"},
        "backup_secrets": ["BACKUP_SSH_KEY"],
        "backup_known_hosts": [f"{store.address} {key}"],
    }
    return [part for name, value in given.items() for part in ("--data", f"{name}={json.dumps(value)}")]


def slipway(name: str, verb: str, *arguments: str) -> str:
    return run(f"slipway {verb}", [*SLIPWAY, verb, "lab", *arguments], env={"SLIPWAY_LAB_HOSTS": name}, cwd=PROJECT)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


# --- The measurements ------------------------------------------------------------------------------------------------


def died(repeat: int, settings: list[str], chance: random.Random, progress: Progress) -> Iterator[Loss]:
    """Cut the server's power at a random moment under writes, and restore the far repository on the spare host."""
    for number in range(1, repeat + 1):
        with progress.step(f"Let the server die, {number} of {repeat}"):
            server = hosts.find(SERVER)
            writer = Writer(server)
            end, near = time.monotonic() + chance.uniform(*DEATH), 0.0
            while time.monotonic() < end:
                near = json.loads(on(server, f"cat {STATE}")).get("sliced", {}).get("near", near)
                time.sleep(1)
            hosts.crash(SERVER)
            death = time.time()
            written = writer.end()
        with progress.step("Restore it on the spare host"):
            snapshots.restore(LABEL, SPARE, progress=QUIET)
            seconds = timed(lambda: slipway(SPARE, "restore", "--from", "far", "--yes", *settings))
            count, last, _ = found(hosts.find(SPARE))
        newest = next((one.second for one in reversed(written) if one.number <= last), written[0].second)
        lost = sum(one.number > last for one in written)
        yield Loss(death - newest, death - near, lost, len(written), last + 1 - count, seconds)
        hosts.stop(SPARE, progress=QUIET)
        with progress.step("Boot the server again"):
            hosts.up([SERVER], progress=QUIET)


def restored(repeat: int, settings: list[str], chance: random.Random, progress: Progress) -> Iterator[Second]:
    """Write for a while, and restore the server to random seconds of it."""
    server = hosts.find(SERVER)
    with progress.step("Write for 4 minutes"):
        writer = Writer(server)
        time.sleep(240)
        written = writer.end()
        time.sleep(2)
        on(server, f"{PROGRAM} slice")
    begin, end = written[0].second, written[-1].second
    for number in range(1, repeat + 1):
        second = chance.randrange(begin, end)
        shown = time.strftime("%FT%TZ", time.gmtime(second))
        with progress.step(f"Restore the second {shown}, {number} of {repeat}"):
            seconds = timed(partial(slipway, SERVER, "restore", "--at", shown, "--yes", *settings))
            there = found(server)
        wanted = expected([one.number for one in written if one.second <= second])
        yield Second(there == wanted, there[0], seconds)


def compared(gigabytes: float, settings: list[str], progress: Progress) -> Size:
    """Full backup, incremental and restore beside mongodump and mongorestore, and the API's p99 meanwhile."""
    server = hosts.find(SERVER)
    with progress.step(f"Fill the database with {gigabytes:g} GiB"):
        size = fill(server, gigabytes)
    password = "$(cat /etc/codementee/credentials/MONGODB_ADMIN_PASSWORD)"  # noqa: S105
    uri = f'--quiet --uri "mongodb://admin:{password}@127.0.0.1:27017/?authSource=admin"'
    archive = "/srv/plain.archive"
    ways: dict[str, Callable[[], object]] = {
        "mongodump --archive": lambda: on(server, f"mongodump {uri} --archive={archive}"),
        "slipway backup, full": lambda: on(server, f"{PROGRAM} now"),
        "slipway backup, the next": lambda: on(server, f"{PROGRAM} now"),
        "mongorestore": lambda: on(
            server, f"mongorestore {uri} --archive={archive} --drop --nsInclude 'codementee.*' 2>&1"
        ),
        "slipway restore": lambda: slipway(SERVER, "restore", "--yes", *settings),
    }
    seconds = {}
    for way, work in ways.items():
        with progress.step(way):
            seconds[way] = timed(work)
    idle = api(server, "without a backup", progress)
    on(server, "systemctl start --no-block slipway-backup.service")
    during = api(server, "during a backup", progress)
    return Size(size, seconds, idle.p99, during.p99, idle.failed + during.failed)


def rebuilt(settings: list[str], progress: Progress) -> Rebuilt:
    """Lose the server, and make a fresh host what it was; and provision one without data."""
    documents = filled(hosts.find(SERVER))
    hosts.crash(SERVER)
    with progress.step("Provision a fresh host"):
        fresh()
        provisioning = timed(lambda: [slipway(SPARE, *words) for words in (["apply", "--yes"], ["verify"])])
    with progress.step("Rebuild the server on a fresh host"):
        fresh()
        seconds = timed(lambda: slipway(SPARE, "rebuild", "--yes", *settings))
    return Rebuilt(seconds, provisioning, filled(hosts.find(SPARE)) == documents)


def fresh() -> None:
    hosts.down([host.name for host in hosts.status() if host.name == SPARE], progress=QUIET)
    hosts.up([SPARE], progress=QUIET)
    hosts.connect()


def api(server: Host, what: str, progress: Progress) -> load.Load:
    """The API at a steady rate."""
    with progress.step(f"Ask the API, {what}"):
        url = f"https://{server.domain}{COMPANIES}"
        where = f"{server.address}:{443 + server.port_offset}"
        headers = [f"Authorization: Bearer {token(server)}"]
        asked = load.command(url, clients=CLIENTS, seconds=P99_SECONDS, rate=RATE, address=where, headers=headers)
        return load.timed(what, asked)


def resident(progress: Progress) -> Iterator[float]:
    """MiB of the processes of backups and alarms, at 60 moments."""
    server = hosts.find(SERVER)
    script = (
        "for moment in $(seq 60); do ps -eo rss=,args= | grep -E '/usr/lib/slipway/|restic' | grep -v grep"
        " | awk '{sum += $1} END {print sum / 1024}'; sleep 1; done"
    )
    with progress.step("Look at the memory of backups and alarms"):
        yield from map(float, on(server, script).split())


if __name__ == "__main__":
    main()
