"""A summary of Nginx's log of requests (templates/nginx/nginx.conf), by route.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT LOG DAYS`. Reads LOG and its rotated
predecessors, the newest first, up to MAX_BYTES, and prints JSON: `since` and `until` (seconds since the epoch, null
without requests), `complete` (whether all of DAYS were read), and `routes`: host, method, path, requests, client and
server errors, p50, p99 and the time of all, in milliseconds.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_BYTES = 512 * 2**20
# Different routes that are counted, and printed: those that take the most time. All others are one.
MAX_COUNTED, MAX_ROUTES = 20_000, 200
OTHERS, NOT_FOUND = "(others)", "(not found)"
# The alarms' own requests.
OWN_AGENT = "slipway-alarms"
ID = re.compile(r"\d+|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?=.*\d)[\w.~-]{24,}")
FILE = re.compile(r"[^/]+(\.\w{2,5})$")


def route_of(path: str) -> str:
    """A path without what differs between requests of the same kind: /api/orders/17 is /api/orders/:id, and a file is
    all files of its folder with its suffix."""
    *folders, last = path.split("/")
    parts = [":id" if ID.fullmatch(part) else part for part in folders]
    found = FILE.fullmatch(last)
    if found and folders[1:]:
        last = f"*{found[1]}"
    elif ID.fullmatch(last):
        last = ":id"
    return "/".join([*parts, last])[:200]


class Route:
    def __init__(self) -> None:
        self.milliseconds: Counter[int] = Counter()
        self.statuses: Counter[str] = Counter()

    def add(self, other: Route) -> None:
        self.milliseconds += other.milliseconds
        self.statuses += other.statuses

    def percentile(self, percent: float) -> int:
        """The least time that `percent` of the requests do not exceed."""
        wanted, seen = percent / 100 * self.milliseconds.total(), 0
        for value in sorted(self.milliseconds):
            seen += self.milliseconds[value]
            if seen >= wanted:
                return value
        return 0

    @property
    def total(self) -> int:
        """The time of all requests. A Counter with a request of 0 ms has it too."""
        return sum(value * number for value, number in self.milliseconds.items())

    def is_only_refused(self) -> bool:
        """Whether nothing of it was ever there, as what scanners try."""
        return not {*self.statuses} - {"400", "404", "405", "444"}


def lines(log: str, begin: float) -> Iterator[str]:
    """The lines of a log and its predecessors that were written to after `begin`, the newest file first."""
    files = {file: file.stat().st_mtime for file in Path(log).parent.glob(f"{Path(log).name}*")}
    for name in sorted((file for file, then in files.items() if then >= begin), key=lambda file: -files[file]):
        try:
            with (gzip.open if name.suffix == ".gz" else open)(name, "rt", encoding="utf-8", errors="replace") as file:
                yield from file
        except (OSError, EOFError):
            continue


def summary(log: str, days: float, now: float, limit: int = MAX_BYTES) -> dict[str, Any]:
    begin, first, last, size, is_complete = now - days * 86400, now, 0.0, 0, True
    routes: dict[tuple[str, str, str], Route] = {}
    for line in lines(log, begin):
        size += len(line)
        if size > limit:
            is_complete = False
            break
        try:
            its = json.loads(line)
            then, agent, status = float(its["time"]), its["agent"], its["status"]
            key = (its["host"], its["method"], route_of(its["path"]))
            milliseconds = round(float(its["seconds"]) * 1000)
        except (ValueError, KeyError, TypeError):
            # A line that was cut off.
            continue
        if agent == OWN_AGENT or then < begin:
            continue
        first, last = min(first, then), max(last, then)
        if key not in routes and len(routes) >= MAX_COUNTED:
            key = (its["host"], "", OTHERS)
        route = routes.setdefault(key, Route())
        # Of long ones two digits are enough, and few different values.
        route.milliseconds[milliseconds if milliseconds < 1000 else milliseconds // 10 * 10] += 1
        route.statuses[status] += 1
    return {
        "since": first if last else None,
        "until": last or None,
        "complete": is_complete,
        "routes": rows(routes),
    }


def rows(routes: dict[tuple[str, str, str], Route]) -> list[list[Any]]:
    merged: dict[tuple[str, str, str], Route] = {}
    ordered = sorted(routes.items(), key=lambda item: (item[1].is_only_refused(), -item[1].total, item[0]))
    for number, (key, route) in enumerate(ordered):
        if route.is_only_refused():
            key = (key[0], "", NOT_FOUND)
        elif number >= MAX_ROUTES:
            key = (key[0], "", OTHERS)
        merged.setdefault(key, Route()).add(route)
    return [
        [
            *key,
            route.statuses.total(),
            sum(number for status, number in route.statuses.items() if status[0] == "4"),
            sum(number for status, number in route.statuses.items() if status[0] == "5"),
            route.percentile(50),
            route.percentile(99),
            route.total,
        ]
        for key, route in merged.items()
    ]


if __name__ == "__main__":
    print(json.dumps(summary(sys.argv[1], float(sys.argv[2]), time.time())))
