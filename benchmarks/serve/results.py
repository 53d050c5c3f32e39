"""The measurements and their evaluation: medians, ratios, the aims, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.box import MARKDOWN
from rich.table import Table

# The script: whose answer it is.
SLIPWAY, BARE, DESCRIBED = "slipway", "Nginx, bare", "Nginx, as described"
CADDY_GZIP, CADDY_FILES = "Caddy, encode gzip", "Caddy, precompressed"
# The API: the way to the backend.
SOCKET, THROUGH_NGINX = "the backend's socket", "through Nginx"
API, API_WITH_LOGINS, LOGINS = "API", "API, with logins", "logins"


@dataclass(frozen=True)
class Load:
    """A run with so many clients at once. Rates are per second, times in milliseconds; those are 0 where single
    requests were not timed. `offered` is the requested rate, 0 for as many as possible."""

    way: str
    clients: int
    requests: int
    failed: int
    rate: float
    median: float = 0
    p99: float = 0
    offered: float = 0


@dataclass(frozen=True)
class Visits:
    """What visitors noticed of so many changes. The gap, in milliseconds, is between two right answers to the same
    request, whoever got them."""

    releases: int
    rollbacks: int
    renewals: int
    reloads: int
    requests: int
    failed: int
    gap_ms: float
    gaps: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """Connections that are open at once, and the memory of Nginx's workers with them and without, in MiB."""

    connections: int
    load: Load
    memory_without: float
    memory_with: float

    @property
    def kib_each(self) -> float:
        return (self.memory_with - self.memory_without) * 1024 / self.connections


@dataclass
class Findings:
    """All results of a run; empty where nothing was measured."""

    visits: list[Visits] = field(default_factory=list)
    script: list[Load] = field(default_factory=list)
    script_http2: list[Load] = field(default_factory=list)
    proxied: list[Load] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    users: list[Load] = field(default_factory=list)


def summaries(loads: Iterable[Load]) -> list[Load]:
    """The medians of each way's runs at the same rate, in the order in which they first ran; failures are added up."""
    alike: dict[tuple[str, float], list[Load]] = {}
    for load in loads:
        alike.setdefault((load.way, load.offered), []).append(load)
    return [
        Load(
            way,
            its[0].clients,
            sum(load.requests for load in its),
            sum(load.failed for load in its),
            median(load.rate for load in its),
            median(load.median for load in its),
            median(load.p99 for load in its),
            offered,
        )
        for (way, offered), its in alike.items()
    ]


def rate_of(loads: Iterable[Load], way: str) -> float:
    """The median rate of a way, 0 where it was not measured."""
    return next((load.rate for load in summaries(loads) if load.way == way), 0)


def ratio(loads: Sequence[Load], way: str, base: str) -> float | None:
    """A way's rate as a multiple of another's."""
    one, other = rate_of(loads, way), rate_of(loads, base)
    return one / other if one and other else None


def _line(what: str, found: float | None, unit: str, aim: float, at_least: bool = False) -> str | None:
    if found is None:
        return None
    met = found >= aim if at_least else found <= aim
    return f"{what}: {found:,.2f} {unit} (aim: {'≥' if at_least else '≤'} {aim:,g}, {'met' if met else 'missed'})"


def remarks(found: Findings) -> list[str]:
    """The results next to the aims."""
    told: list[str | None] = []
    for visits in found.visits:
        told += [
            _line("visitors", visits.requests, "requests", 200_000, at_least=True),
            _line("visitors", visits.failed, "failed requests", 0),
            _line("visitors, the longest gap", visits.gap_ms, "ms", 100),
        ]
    for name, loads in (("HTTP/1.1", found.script), ("HTTP/2", found.script_http2)):
        for base, aim in ((CADDY_GZIP, 6), (CADDY_FILES, 1), (BARE, 0.9)):
            told.append(_line(f"script, {name}", ratio(loads, SLIPWAY, base), f"x {base}", aim, at_least=True))
    told.append(_line("API, through Nginx", ratio(found.proxied, THROUGH_NGINX, SOCKET), f"x {SOCKET}", 0.85, True))
    for held in found.held:
        told.append(_line("connections held", held.connections, "of them", 10_000, at_least=True))
        told.append(_line("requests on them", held.load.failed, "failed", 0))
    most = max((load.offered for load in found.users if load.way == API), default=0)
    for load in summaries(found.users):
        at = f"at {most:,.0f} API requests a second"
        if load.way == API and load.offered == most:
            told += [_line(f"{API} {at}", load.rate, "a second", most * 0.99, at_least=True)]
            told += [_line(f"{API} {at}, p99", load.p99, "ms", 200)]
        if load.way == API_WITH_LOGINS and load.offered == most:
            told += [_line(f"{API_WITH_LOGINS}, {at}, p99", load.p99, "ms", 200)]
        if load.way == f"{LOGINS} {at}":
            told += [_line(f"{LOGINS} {at}, p99", load.p99, "ms", 500)]
    return [line for line in told if line]


def tables(found: Findings) -> list[Table]:
    shown = []
    for visits in found.visits:
        counts = [visits.releases, visits.rollbacks, visits.renewals, visits.reloads, visits.requests, visits.failed]
        names = ("releases", "rollbacks", "renewals", "reloads", "requests", "failed")
        row = {**{name: f"{count:,}" for name, count in zip(names, counts, strict=True)}}
        shown.append(_table({**row, "longest gap, ms": f"{visits.gap_ms:.0f}"}))
    for title, loads in (("140 KB script, HTTP/1.1", found.script), ("140 KB script, HTTP/2", found.script_http2)):
        shown += [_rates(title, loads, SLIPWAY)] if loads else []
    shown += [_rates("GET /api/companies", found.proxied, SOCKET)] if found.proxied else []
    for held in found.held:
        row = {"connections": f"{held.connections:,}", "requests": f"{held.load.requests:,}"}
        row |= {"failed": f"{held.load.failed:,}", "memory without, MiB": f"{held.memory_without:.0f}"}
        row |= {"with, MiB": f"{held.memory_with:.0f}", "KiB each": f"{held.kib_each:.1f}"}
        shown.append(_table(row))
    if found.users:
        shown.append(_users(summaries(found.users)))
    return shown


def _rates(title: str, loads: Sequence[Load], base: str) -> Table:
    shown = _empty(title, "req/s", f"of {base}", "failed")
    for load in summaries(loads):
        multiple = ratio(loads, load.way, base)
        shown.add_row(load.way, f"{load.rate:,.0f}", f"{multiple:.2f}" if multiple else "", f"{load.failed:,}")
    return shown


def _users(loads: Sequence[Load]) -> Table:
    shown = _empty("users", "offered, req/s", "answered, req/s", "median, ms", "p99, ms", "failed")
    for load in loads:
        times = (f"{load.median:.0f}", f"{load.p99:.0f}")
        shown.add_row(load.way, f"{load.offered:.4g}", f"{load.rate:.4g}", *times, f"{load.failed:,}")
    return shown


def _table(row: dict[str, str]) -> Table:
    shown = Table(*row, box=MARKDOWN)
    for column in shown.columns:
        column.justify = "right"
    shown.add_row(*row.values())
    return shown


def _empty(title: str, *columns: str) -> Table:
    shown = Table(title, *columns, box=MARKDOWN)
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown
