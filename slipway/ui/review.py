"""The quarterly report as a person reads it: tables on a terminal, or one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slipway.ui.console import Console, escape, plain
from slipway.ui.pages import page
from slipway.upkeep.review import DAY, HostReview, Mongodb, Review

# Rows on a terminal; --verbose and the page show all.
MAX_ROWS = 10


@dataclass
class Table:
    """`numbers` are the columns that are aligned to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    numbers: int = 0


def tables(host: HostReview) -> Iterator[Table]:
    """The report of a host; the last `numbers` columns of a table are numbers."""
    support = [
        [
            its.name,
            str(its.end or "unknown"),
            str(its.days_left if its.days_left is not None else ""),
            str(its.long_end or ""),
        ]
        for its in host.support
    ]
    yield Table("support", ["of", "ends", "days left", "LTS ends"], support)
    lists = f"apt's lists are {host.lists_age_days} days old" if host.lists_age_days is not None else "no lists of apt"
    updates = [[one.package, one.old, one.new, "security" if one.is_security else ""] for one in host.updates]
    yield Table("pending updates", ["package", "installed", "available", ""], updates, lists)
    disks = [
        [one.mount, f"{one.used_mb}", f"{one.size_mb}", f"{100 * one.used_mb / max(one.size_mb, 1):.0f}"]
        for one in host.disks
    ]
    yield Table("disks", ["mount", "used MiB", "size MiB", "%"], disks, numbers=3)
    folders = sorted(host.folders, key=lambda one: -one.mb)
    yield Table("folders", ["path", "MiB"], [[one.path, str(one.mb)] for one in folders], numbers=1)
    changed = sorted((one for one in host.growth if one.after != one.before), key=lambda one: one.before - one.after)
    growth = [
        [one.what, f"{one.since:%Y-%m-%d}", str(one.before), str(one.after), f"{one.after - one.before:+d}"]
        for one in changed
    ]
    yield Table("growth", ["of", "since", "MiB then", "MiB now", "MiB"], growth, numbers=3)
    if host.requests:
        routes = [
            [
                " ".join(part for part in (one.host, one.method, one.path) if part),
                *map(str, (one.requests, one.client_errors, one.server_errors, one.p50, one.p99)),
            ]
            for one in host.requests.routes
        ]
        columns = ["route", "requests", "4xx", "5xx", "p50 ms", "p99 ms"]
        yield Table("requests", columns, routes, _period(host), numbers=5)
    if host.mongodb:
        yield from _of_mongodb(host.mongodb)


def _period(host: HostReview) -> str:
    its = host.requests
    if not its or not its.since or not its.until:
        return "none in Nginx's log"
    days = (its.until - its.since).total_seconds() / DAY
    more = "" if its.complete else ", older ones not read"
    return f"since {its.since:%Y-%m-%d %H:%M} UTC ({days:.1f} days{more}), those that take the most time first"


def _of_mongodb(its: Mongodb) -> Iterator[Table]:
    since = f"since {its.since:%Y-%m-%d %H:%M} UTC"
    slow = [
        [one.title, one.plan, *map(str, (one.count, one.longest, one.total, one.examined, one.returned))]
        for one in its.slow
    ]
    columns = ["operation", "plan", "logged", "longest ms", "all ms", "examined", "returned"]
    note = f"of {its.slow_ms} ms and above; {its.scans} collection scans of any length {since}"
    yield Table("slow queries", columns, slow, note, numbers=5)
    missing = [[one.command, str(one.count), str(one.total)] for one in its.missing]
    yield Table("missing indexes", ["for mongosh", "scans", "ms"], missing, numbers=2)
    indexes = [
        [
            f"{one.full_name} {index.name}",
            ", ".join(f"{field}: {order}" for field, order in index.key.items()),
            index.purpose or "no purpose but queries",
            f"{index.mb} MiB",
            f"since {index.since:%Y-%m-%d}",
        ]
        for one in its.collections
        for index in one.indexes
        if not index.uses and index.purpose != "identity"
    ]
    yield Table("indexes without a use", ["index", "key", "purpose", "size", "counted"], indexes)
    sizes = [
        [
            one.full_name,
            *map(str, (one.documents, one.data_mb, round(one.storage / 2**20), round(one.index_bytes / 2**20))),
        ]
        for one in sorted(its.collections, key=lambda one: -one.data)
    ]
    yield Table("collections", ["collection", "documents", "MiB", "on disk", "indexes"], sizes, numbers=4)


def shown(text: str) -> str:
    return escape(plain(text))


def show(review: Review, console: Console) -> None:
    for host in review.hosts:
        console.host(host.name, host.roles)
        if host.failure is not None:
            console.say("could not be asked", "  [red]✗[/] ")
            continue
        console.say("[bold]what deserves a look[/]" if host.remarks else "[green]nothing deserves a look[/]", "  ")
        for remark in host.remarks:
            console.say(f"[yellow]{shown(remark)}[/]", "    - ")
        for table in tables(host):
            _show_table(table, console)


def _show_table(table: Table, console: Console) -> None:
    if not table.rows and not table.note:
        return
    note = f"  [dim]{shown(table.note)}[/]" if table.note else ""
    console.say(f"[bold]{table.title}[/]{note}", "  ")
    rows = table.rows if console.level > 0 else table.rows[:MAX_ROWS]
    if rows:
        widths = [max(len(row[number]) for row in [table.columns, *rows]) for number in range(len(table.columns))]
        console.say(f"[dim]{_line(table.columns, widths, table.numbers)}[/]", "    ")
        for row in rows:
            console.say(shown(_line(row, widths, table.numbers)), "    ")
    if len(rows) < len(table.rows):
        console.say(f"[dim]{len(table.rows) - len(rows)} more: --verbose[/]", "    ")


def _line(row: Sequence[str], widths: Sequence[int], numbers: int) -> str:
    first = len(row) - numbers
    cells = [
        f"{cell:>{width}}" if at >= first else f"{cell:<{width}}"
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def as_html(review: Review) -> str:
    """The report as a self-contained HTML page."""
    return page("review.html", review=review, tables=tables)
