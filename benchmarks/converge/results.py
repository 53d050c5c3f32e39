"""The measurements and their evaluation: medians, ratios, the aims, a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.box import MARKDOWN
from rich.table import Table

SSH, PLAN, FIRST_PLAN, APPLY = "ssh host true", "slipway plan", "slipway plan, the first", "slipway apply, 1 change"
PYINFRA, ANSIBLE = "pyinfra --dry", "ansible-playbook"
# Of another version; its commit follows.
PLAN_OF = f"{PLAN} of "


@dataclass(frozen=True)
class Run:
    """One run of a way on so many hosts in sync, `round_trip` milliseconds away.

    `cpu` is processor time here in seconds, `memory_mb` that of the largest process here, `remote_cpu` the processor
    time of one host, minus that of an idle host.
    """

    way: str
    hosts: int
    round_trip: int
    seconds: float
    cpu: float
    memory_mb: float
    remote_cpu: float


@dataclass(frozen=True)
class Aim:
    """A way's time on so many hosts: at most so many times that of another, or at most so many seconds."""

    way: str
    hosts: int
    most: float
    base: str = ""
    base_hosts: int = 1

    def told(self, found: Sequence[Run], round_trip: int) -> str | None:
        """The result next to the aim; None if it was not measured."""
        it = run_of(found, self.way, self.hosts, round_trip)
        base = run_of(found, self.base, self.base_hosts, round_trip)
        if it is None or (self.base and base is None):
            return None
        if base is None:
            return _line(title(it), it.seconds, "s", self.most)
        if self.most < 1:
            # A speed-up reads better than a small fraction.
            faster = f"x faster than {title(base)}"
            return _line(title(it), base.seconds / it.seconds, faster, 1 / self.most, at_least=True)
        return _line(title(it), it.seconds / base.seconds, f"x {title(base)}", self.most)


def _line(what: str, found: float, unit: str, aim: float, at_least: bool = False) -> str:
    met = found >= aim if at_least else found <= aim
    return f"{what}: {found:.2f} {unit} (aim: {'≥' if at_least else '≤'} {aim:g}, {'met' if met else 'missed'})"


def aims(hosts: int) -> list[Aim]:
    """The aims; `hosts` is the number for many."""
    of_one = [Aim(PLAN, 1, 1.5, SSH), Aim(PLAN, 1, 1 / 20, PYINFRA), Aim(PLAN, 1, 1 / 40, ANSIBLE), Aim(APPLY, 1, 3)]
    return of_one + ([Aim(PLAN, hosts, 3, PLAN)] if hosts > 1 else [])


def summaries(runs: Iterable[Run]) -> list[Run]:
    """The medians of each way's runs by hosts and distance, in the order in which they first ran."""
    alike: dict[tuple[str, int, int], list[Run]] = {}
    for run in runs:
        alike.setdefault((run.way, run.hosts, run.round_trip), []).append(run)
    return [
        Run(
            *key,
            median(run.seconds for run in its),
            median(run.cpu for run in its),
            median(run.memory_mb for run in its),
            median(run.remote_cpu for run in its),
        )
        for key, its in alike.items()
    ]


def run_of(found: Iterable[Run], way: str, hosts: int, round_trip: int) -> Run | None:
    wanted = (way, hosts, round_trip)
    return next((run for run in found if (run.way, run.hosts, run.round_trip) == wanted), None)


def title(run: Run) -> str:
    return f"{run.way}, {run.hosts} hosts" if run.hosts > 1 else run.way


def table(found: Sequence[Run], round_trip: int) -> Table:
    """The ways at one distance, as Markdown."""
    columns = ("seconds", "of ssh", "processor here, s", "memory here, MB", "processor of a host, s")
    shown = Table(f"{round_trip} ms", *columns, box=MARKDOWN)
    for column in shown.columns[1:]:
        column.justify = "right"
    ssh = run_of(found, SSH, 1, round_trip)
    for run in (run for run in found if run.round_trip == round_trip):
        shown.add_row(
            title(run),
            f"{run.seconds:.2f}",
            f"{run.seconds / ssh.seconds:.2f}" if ssh else "",
            f"{run.cpu:.2f}",
            f"{run.memory_mb:.0f}",
            f"{run.remote_cpu:.2f}",
        )
    return shown


def growth(found: Sequence[Run], way: str, round_trip: int) -> str | None:
    """A way's cost on its most hosts as multiples of that on one; None where one of them is missing."""
    most = max((run.hosts for run in found if run.way == way), default=1)
    one, many = (run_of(found, way, hosts, round_trip) for hosts in (1, most))
    if most == 1 or one is None or many is None:
        return None
    multiples = {
        "time": many.seconds / one.seconds,
        "processor here": many.cpu / one.cpu,
        "memory here": many.memory_mb / one.memory_mb,
        "processor of each host": many.remote_cpu / max(one.remote_cpu, 0.01),
    }
    told = ", ".join(f"{what} x {multiple:.2f}" for what, multiple in multiples.items())
    return f"{way}, from 1 to {most} hosts: {told}"


def remarks(found: Sequence[Run]) -> list[str]:
    """The results at the largest distance next to the aims, and how the ways scale."""
    hosts = max((run.hosts for run in found if run.way == PLAN), default=1)
    far = max(run.round_trip for run in found)
    told = [aim.told(found, far) for aim in aims(hosts)]
    told += [growth(found, way, far) for way in (PLAN, PYINFRA)]
    others = dict.fromkeys(run.way for run in found if run.way.startswith(PLAN_OF))
    for round_trip in dict.fromkeys(run.round_trip for run in found):
        its = (Aim(PLAN, 1, 1, other).told(found, round_trip) for other in others)
        told += [f"{round_trip} ms: {line}" for line in its if line]
    return [line for line in told if line]
