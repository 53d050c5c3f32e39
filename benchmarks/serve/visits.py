"""Visitors of the site during releases, rollbacks, renewals of the certificate and reloads of Nginx."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import PROJECT
from benchmarks.serve.results import Visits
from benchmarks.serve.site import change, slipway
from slipway.lab import hosts
from slipway.lab.hosts import Host
from slipway.lab.steps import Progress, StepFailed, run

# Longer than any run.
FOR_EVER = "36000"
ACCESS_LOG = "/var/log/nginx/access.log"


@contextmanager
def visitors(host: Host) -> Iterator[subprocess.Popen[str]]:
    """lab.visitors: by GET and POST, on kept and new connections. They have priority: their own wait for a
    processor would be counted as the host's."""
    where = [host.address, str(443 + host.port_offset), host.domain, str(hosts.trusted_roots()), FOR_EVER]
    command = ["nice", "-n", "-10", sys.executable, "-m", "slipway.lab.visitors", *where]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def noticed(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    return dict(json.loads(output))


def visit(host: Host, folder: Path, releases: int, others: int, least: int, progress: Progress) -> Visits:
    """Release so many times, roll back and renew the certificate `others` times in between, and reload Nginx after each
    release, and then until visitors have made `least` requests."""
    done = {"rollbacks": 0, "renewals": 0, "reloads": 0}
    before = requests(host)

    def reload() -> None:
        run("Reload Nginx", host.ssh_argv("systemctl reload nginx"))
        done["reloads"] += 1

    with visitors(host) as process:
        for number in range(1, releases + 1):
            with progress.step(f"Release {number} of {releases}"):
                change(folder, number)
                slipway("release", "lab", "--yes", folder=folder)
                reload()
            if number % max(1, releases // others) == 0 and done["rollbacks"] < others:
                with progress.step("Go back, and renew the certificate"):
                    slipway("rollback", "lab", "--yes")
                    done["rollbacks"] += 1
                    renew(host)
                    done["renewals"] += 1
        with progress.step(f"Reload Nginx until there were {least:,} requests"):
            while requests(host) - before < least * 1.01:
                reload()
                time.sleep(2)
        found = noticed(process)
    return summary(found, releases=releases, **done)


def renew(host: Host) -> None:
    """As certbot's timer does, but at once; its hook reloads Nginx."""
    run("Renew the certificate", host.ssh_argv("certbot renew --quiet --force-renewal --no-random-sleep-on-renew"))


def requests(host: Host) -> int:
    """The number of requests that Nginx has answered."""
    return int(run("Count the requests", host.ssh_argv(f"wc -l < {ACCESS_LOG}")))


def summary(found: dict[str, dict[str, Any]], **done: int) -> Visits:
    """Raises StepFailed if a habit made no request."""
    if not found or not all(its["requests"] for its in found.values()):
        raise StepFailed("Visit the site", f"found no requests of some visitors: {found}")
    gaps: dict[str, float] = {}
    for habit, its in found.items():
        # While nobody at all got an answer, neither did those with kept connections nor those with new ones.
        what, gap = habit.rpartition(", ")[0], round(its["longest_gap"] * 1000, 1)
        gaps[what] = min(gap, gaps.get(what, gap))
    failed: Counter[str] = Counter()
    for habit, its in found.items():
        failed.update({f"{habit}: {why}": count for why, count in its["failed"].items()})
    asked = sum(its["requests"] for its in found.values())
    return Visits(
        **done, requests=asked, failed=failed.total(), gap_ms=max(gaps.values()), gaps=gaps, failures=dict(failed)
    )
