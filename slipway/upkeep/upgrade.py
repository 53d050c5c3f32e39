"""What `slipway upgrade` does to a host: decided here from what the host says (on_host.py), before anything changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

# MongoDB's series, which can't be skipped. https://www.mongodb.com/docs/manual/release-notes/7.0-upgrade-replica-set/
SERIES = ("4.4", "5.0", "6.0", "7.0", "8.0")
MAX_DRILL_AGE = timedelta(days=8)
PARTS = ("os", "mongodb", "node", "slipway")


@dataclass
class Packages:
    """An upgrade of packages: name, installed and available version each, and the services that it restarts."""

    kind: str
    updates: list[tuple[str, str, str]]
    restarts: dict[str, list[str]]
    reboot: bool = False

    @property
    def names(self) -> list[str]:
        """As apt takes them."""
        return [f"{name}={new}" for name, _, new in self.updates]


@dataclass
class Mongodb:
    """An upgrade of MongoDB's server, "" if there is none, and what prevents it."""

    old: str
    new: str = ""
    is_series: bool = False
    has_backups: bool = False
    # The member of a replica set that makes its backups; "" for the host itself.
    backups_by: str = ""
    problems: list[str] = field(default_factory=list)
    # After the upgrade to a series, its features wait for a command of their own.
    features_wait: str = ""


def series_of(version: str) -> str:
    return ".".join(version.split(".")[:2])


def number_of(version: str) -> tuple[int, ...]:
    """For comparisons: (6, 0, 27) of 6.0.27."""
    digits = version.partition("-")[0].partition("~")[0].split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in digits)


def packages_of(found: Mapping[str, Any], kind: str) -> Packages:
    updates = [(name, old, new) for name, old, new in found["packages"][kind]]
    restarts = dict(found["restarts"][kind])
    if kind == "os":
        # As after an upgrade that was cut off.
        restarts |= {unit: ["replaced before"] for unit in found["outdated"] if unit not in restarts}
    return Packages(kind, updates, restarts, kind == "os" and found["reboot"])


def mongodb_of(
    found: Mapping[str, Any], wanted: str, has_backups: bool, now: datetime | None = None, backups_by: str = ""
) -> Mongodb:
    """`wanted` is the series that is set (mongodb_version); without backups `backups_by` is a host that is not in the
    run, or "" where there are none."""
    old, available = found["installed"], found["available"]
    plan = Mongodb(old, has_backups=has_backups, backups_by=backups_by)
    running, features = series_of(old), found["feature_version"]
    if wanted == running:
        plan.features_wait = running if features != running else ""
        newest = max((one for one in available if series_of(one) == running), key=number_of, default=old)
        if number_of(newest) > number_of(old):
            plan.new = newest
    else:
        plan.is_series = True
        plan.new = max((one for one in available if series_of(one) == wanted), key=number_of, default="")
        plan.problems = _series_problems(running, wanted, features, plan.new)
        plan.problems += _drill_problems(found["drill"], plan, now or datetime.now(UTC))
    if plan.new and old not in available:
        hint = f" (slipway apply adds the repository of {running} again)" if plan.is_series else ""
        plan.problems.append(f"the repository no longer has MongoDB {old}: there would be no way back{hint}")
    return plan


def _series_problems(running: str, wanted: str, features: str, new: str) -> list[str]:
    if running not in SERIES or wanted not in SERIES:
        return [f"mongodb_version: found {wanted!r} with MongoDB {running}, expected series of {', '.join(SERIES)}"]
    step = SERIES.index(wanted) - SERIES.index(running)
    if step < 0:
        return [
            f"mongodb_version: found {wanted!r}, but MongoDB {running} runs, which can't go back; need {running!r}, or"
            f" a new server and a restore of a backup that {wanted} has made"
        ]
    if step > 1:
        following = SERIES[SERIES.index(running) + 1]
        return [f"mongodb_version: found {wanted!r} with MongoDB {running}, need {following!r}: one series at a time"]
    problems = []
    if features != running:
        problems.append(
            f"the feature compatibility version is {features}, need {running} first: slipway upgrade --raise-features"
        )
    if not new:
        problems.append(f"apt knows no package of MongoDB {wanted} yet: slipway apply configures its repository")
    return problems


def _drill_problems(drill: Mapping[str, str] | None, plan: Mongodb, now: datetime) -> list[str]:
    if not plan.has_backups and plan.backups_by:
        return [
            f"a new series needs a backup first: {plan.backups_by} makes them and is not in this run: add it to --limit"
        ]
    if not plan.has_backups:
        return ["a new series needs backups that are proven to restore: set backup_repositories (slipway help backups)"]
    if drill is None:
        return ["found no drill, need one that passed: slipway backup drill"]
    age = now - datetime.strptime(drill["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    if drill["result"] != "passed" or age > MAX_DRILL_AGE:
        days = MAX_DRILL_AGE.days
        found = f"one that {drill['result']} {age.days} days ago"
        return [f"the last drill: found {found}, need one that passed within {days} days: slipway backup drill"]
    return []


def lines_of(packages: Sequence[Packages], mongodb: Mongodb | None, interrupted: Sequence[str] = ()) -> list[str]:
    """The plan of a host: from what to what, what restarts, and what that means. `interrupted` are packages whose
    installation was cut off."""
    lines = []
    if interrupted:
        lines += [
            f"interrupted: {', '.join(interrupted)}",
            "  their installation is finished first, which may restart their services; upgrade again after it",
        ]
    for its in packages:
        lines += [f"{its.kind}: {name} {old or 'new'} -> {new}" for name, old, new in its.updates]
        lines += [f"  restarts {unit} ({', '.join(of)}){meaning_of(unit)}" for unit, of in its.restarts.items()]
        if its.reboot:
            lines.append("  a new kernel: active after a reboot, which is not made")
    if mongodb and mongodb.new:
        lines.append(f"mongodb: {mongodb.old} -> {mongodb.new}{' (a new series)' if mongodb.is_series else ''}")
        lines.append(f"  {_backup_of(mongodb)}")
        lines.append("  restarts mongod.service once: the site's writes wait for some seconds")
        lines.append(f"  if {mongodb.new} does not come up, {mongodb.old} is installed again")
        if mongodb.is_series:
            lines.append(
                "  its features stay off until `slipway upgrade --raise-features`: until then no data depend on it"
            )
    if mongodb and mongodb.features_wait:
        lines.append(
            f"mongodb: the features of {mongodb.features_wait} are off; when it has proven itself: slipway upgrade"
            " --raise-features"
        )
    return lines


def _backup_of(mongodb: Mongodb) -> str:
    if mongodb.has_backups:
        return f"a full backup first{f' on {mongodb.backups_by}' if mongodb.backups_by else ''}"
    if mongodb.backups_by:
        return f"without a backup: {mongodb.backups_by} makes them and is not in this run (slipway backup now)"
    return "without a backup: backup_repositories is empty; make a dump or a snapshot first"


def meaning_of(unit: str) -> str:
    """What the restart of a unit means to visitors."""
    if unit.startswith("nginx"):
        return ": new connections wait for about a second"
    if unit.startswith("mongod"):
        return ": the site's writes wait for some seconds"
    if "-backend" in unit:
        return ": its requests wait in the socket meanwhile"
    return ""
