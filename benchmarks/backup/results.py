"""The results of the backups' measurements, and the aims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from rich.box import MARKDOWN
from rich.table import Table

# The aims: seconds of lost writes by repository, multiples of MongoDB's own tools, and of the p99 without a backup.
MAX_LOSS = {"near": 60, "far": 300}
MAX_OF_TOOLS, MAX_OF_P99 = 1.3, 2.0


@dataclass(frozen=True)
class Loss:
    """A server that died while it was written to. Seconds are from the newest restored write to the death; `near` is by
    the newest slice that the server had told of. `missing` counts acknowledged writes up to the newest restored one
    that are not there."""

    far: float
    near: float
    lost: int
    written: int
    missing: int
    restore_seconds: float


@dataclass(frozen=True)
class Second:
    """A restore to a second: whether exactly the writes up to it are there, by hash."""

    right: bool
    documents: int
    seconds: float


@dataclass(frozen=True)
class Size:
    """Seconds for so many bytes of documents, by way; and the p99 of the API, in ms, without and during a backup."""

    bytes: int
    seconds: dict[str, float]
    p99_idle: float
    p99_during: float
    failed: int

    def rate(self, way: str) -> float:
        """MB/s."""
        return self.bytes / 1e6 / self.seconds[way]


@dataclass(frozen=True)
class Rebuilt:
    """Seconds until a fresh host is the lost server, verified, and until one without data is; whether it has all
    documents."""

    seconds: float
    provisioning: float
    complete: bool


@dataclass
class Findings:
    losses: list[Loss] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)
    size: Size | None = None
    # MiB of the processes of alarms and backups, at moments between their runs.
    resident: list[float] = field(default_factory=list)
    rebuilt: Rebuilt | None = None


TOOLS = {"slipway backup, full": "mongodump --archive", "slipway restore": "mongorestore"}


def tables(found: Findings) -> Iterator[Table]:
    if found.size:
        shown = Table(box=MARKDOWN)
        for title in ("way", "seconds", "MB/s", "of MongoDB's tool"):
            shown.add_column(title, justify="left" if title == "way" else "right", no_wrap=True)
        for way, seconds in found.size.seconds.items():
            tool = TOOLS.get(way)
            of_tool = f"{seconds / found.size.seconds[tool]:.2f}" if tool else ""
            shown.add_row(way, f"{seconds:.1f}", f"{found.size.rate(way):.0f}", of_tool)
        yield shown
    shown = Table(box=MARKDOWN)
    for title in ("measured", "found", "aim"):
        shown.add_column(title)
    for line in lines(found):
        shown.add_row(*line)
    yield shown


def lines(found: Findings) -> Iterator[tuple[str, str, str]]:
    if its := found.losses:
        count = f"{len(its)} deaths"
        for name in ("near", "far"):
            lost = [getattr(one, name) for one in its]
            worst = f"{median(lost):.0f} s median, {max(lost):.0f} s worst"
            yield f"writes lost, repository {name}, {count}", worst, f"≤ {MAX_LOSS[name]} s"
        missing = sum(one.missing for one in its)
        yield "acknowledged writes lost before the newest restored one", str(missing), "0"
    if seconds := found.seconds:
        right = sum(one.right for one in seconds)
        yield "restores to a second, right by hash", f"{right} of {len(seconds)}", "all"
    if size := found.size:
        for way, tool in TOOLS.items():
            yield f"{way}, of {tool}", f"{size.seconds[way] / size.seconds[tool]:.2f}", f"≤ {MAX_OF_TOOLS}"
        ratio = f"{size.p99_during / size.p99_idle:.1f} ({size.p99_idle:.0f} and {size.p99_during:.0f} ms)"
        yield "p99 of the API during a full backup, of that without", ratio, f"≤ {MAX_OF_P99:g}"
        yield "requests that failed meanwhile", str(size.failed), "0"
    if size and (again := found.rebuilt):
        first, restoring = again.provisioning, size.seconds["mongorestore"]
        took = f"{again.seconds:.0f} s" if again.complete else "documents are missing"
        most = first + MAX_OF_TOOLS * restoring
        aim = f"≤ {most:.0f} s: provisioning ({first:.0f}), {MAX_OF_TOOLS} times mongorestore ({restoring:.0f})"
        yield "a lost server rebuilt on a fresh host, verified", took, aim
    if found.resident:
        yield "memory of backups and alarms between their runs", f"{min(found.resident):.0f} MiB", "0 MiB"
