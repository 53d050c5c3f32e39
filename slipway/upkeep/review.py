"""The quarterly review: what grows, what is slow, what is unused, and what is out of date; `slipway report`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any, Literal

from pydantic import Field

from slipway.facts.base import key_values
from slipway.inspection import support
from slipway.upkeep.indexes import MIB, Collection, Described, MissingIndex, Query, missing_indexes

DAY = 86400
# From which the support that is left, a disk or a route deserves a remark.
SOON_DAYS, FULL_PERCENT, SLOW_MS, ERROR_PERCENT = 180, 80, 1000, 1.0
MIN_REQUESTS = 20
# An index is called unused after this time without a use.
UNUSED_DAYS = 30
# The uses of indexes, by collection and name: how many, and since when they are counted on all hosts.
Uses = dict[tuple[str, str], tuple[int, datetime]]
# The ends of MongoDB's series. https://www.mongodb.com/legal/support-policy/lifecycles
MONGODB_ENDS = {
    "4.4": date(2024, 2, 29),
    "5.0": date(2024, 10, 31),
    "6.0": date(2025, 7, 31),
    "7.0": date(2027, 8, 31),
    "8.0": date(2029, 10, 31),
}


class Support(Described):
    """How long something gets security updates."""

    name: str
    end: date | None
    """The last day of regular support; null if unknown."""
    days_left: int | None
    """Negative afterwards."""
    long_end: date | None = None
    """Of Debian's LTS."""


class Update(Described):
    package: str
    old: str
    new: str
    is_security: bool


class Disk(Described):
    mount: str
    used_mb: int
    size_mb: int


class Folder(Described):
    path: str
    mb: int


class Route(Described):
    """Requests of a kind: times in milliseconds, as Nginx measures them, from the first byte to the last."""

    host: str
    method: str
    """Empty for several routes together."""
    path: str
    requests: int
    client_errors: int
    server_errors: int
    p50: int
    p99: int
    total: int


class Requests(Described):
    since: datetime | None
    until: datetime | None
    complete: bool
    """Whether everything since then was read."""
    routes: list[Route]
    """The one that takes the most time first."""


class Mongodb(Described):
    version: str
    feature_version: str
    since: datetime
    """Of the numbers of uses and scans: MongoDB's last start."""
    slow_ms: int
    """From which MongoDB logs an operation."""
    scans: int
    """Collection scans since then, also fast ones."""
    collections: list[Collection]
    slow: list[Query]
    """The operations that take the most time first."""
    missing: list[MissingIndex]


class Growth(Described):
    """What has grown since the oldest full backup that is kept, or since an earlier report."""

    what: str
    since: datetime
    before: int
    after: int
    """MiB."""


class HostReview(Described):
    name: str
    roles: list[str]
    failure: str | None = None
    remarks: list[str] = Field(default_factory=list)
    """What deserves a look, the most urgent first."""
    support: list[Support] = Field(default_factory=list)
    reboot_required: bool = False
    lists_age_days: int | None = None
    """Of apt's lists of packages."""
    updates: list[Update] = Field(default_factory=list)
    disks: list[Disk] = Field(default_factory=list)
    folders: list[Folder] = Field(default_factory=list)
    growth: list[Growth] = Field(default_factory=list)
    requests: Requests | None = None
    mongodb: Mongodb | None = None
    mongodb_error: str = ""


class Review(Described):
    """The report of `slipway report`."""

    schema_version: Literal[1] = 1
    slipway_version: str
    environment: str
    when: datetime
    days: int
    """How far back the logs are read."""
    compared_with: datetime | None = None
    """The time of the earlier report."""
    hosts: list[HostReview] = Field(min_length=1)


def review_of(
    environment: str,
    roles: Mapping[str, list[str]],
    found: Mapping[str, Mapping[str, Sequence[str]]],
    failures: Mapping[str, str],
    days: int,
    earlier: Review | None = None,
    members: Sequence[str] = (),
) -> Review:
    """The report of what facts.Review has found on each host. `members` are those of a replica set, asked or not."""
    now = datetime.now(UTC).replace(microsecond=0)
    hosts = [
        host_of(name, its, found[name], now, earlier)
        if name in found
        else HostReview(name=name, roles=its, failure=failures.get(name, "not asked"))
        for name, its in roles.items()
    ]
    there = [host for host in hosts if host.name in members and host.mongodb]
    for host in there if len(members) > 1 else []:
        # Each member counts its own queries: the first one's remarks are about all of them.
        is_first = host.name == members[0] and len(there) == len(members)
        host.remarks = [*remarks(host, now, uses_of(there) if is_first else {})]
    return Review(
        slipway_version=version("slipway"),
        environment=environment,
        when=now,
        days=days,
        compared_with=earlier.when if earlier else None,
        hosts=hosts,
    )


def host_of(
    name: str, roles: list[str], found: Mapping[str, Sequence[str]], now: datetime, earlier: Review | None = None
) -> HostReview:
    system, today = key_values(found.get("system", [])), now.date()
    end, long_end = support.ends(*system.get("id", "-").split("-", 1))
    mongodb, error = _mongodb(found.get("mongodb", []))
    supports = [_support(system.get("title", "unknown"), end, today, long_end)]
    if mongodb:
        series = ".".join(mongodb.version.split(".")[:2])
        supports.append(_support(f"MongoDB {series}", MONGODB_ENDS.get(series), today))
    lists = system.get("lists", "")
    host = HostReview(
        name=name,
        roles=roles,
        support=supports,
        reboot_required="reboot" in system,
        lists_age_days=int((now.timestamp() - int(lists)) // DAY) if lists else None,
        updates=[*_updates(found.get("updates", []))],
        disks=[Disk(mount=mount, used_mb=int(used), size_mb=int(size)) for mount, used, size in _words(found, "disks")],
        folders=[Folder(path=path, mb=int(mb)) for mb, path in _words(found, "folders")],
        requests=_requests(found.get("requests", [])),
        mongodb=mongodb,
        mongodb_error=error,
    )
    host.growth = [*_in_backups(found.get("backups", [])), *(_growth(earlier, host) if earlier else ())]
    host.remarks = [*remarks(host, now)]
    return host


def _words(found: Mapping[str, Sequence[str]], part: str) -> list[list[str]]:
    return [line.split() for line in found.get(part, [])]


def _support(name: str, end: date | None, today: date, long_end: date | None = None) -> Support:
    return Support(name=name, end=end, days_left=(end - today).days if end else None, long_end=long_end)


def _updates(lines: Sequence[str]) -> Iterator[Update]:
    """As `apt list` prints them: "openssl/stable-security 3.0.17 amd64 [upgradable from: 3.0.16]"."""
    for line in lines:
        name, _, rest = line.partition("/")
        words = rest.split()
        old = rest.partition("from: ")[2].rstrip("]")
        yield Update(package=name, old=old, new=words[1], is_security="security" in words[0])


def _requests(lines: Sequence[str]) -> Requests | None:
    if not lines:
        return None
    its = json.loads(lines[0])
    routes = [Route(**dict(zip(Route.model_fields, row, strict=True))) for row in its["routes"]]
    return Requests(
        since=_time(its["since"]), until=_time(its["until"]), complete=its["complete"], routes=_by_time(routes)
    )


def _by_time(routes: list[Route]) -> list[Route]:
    return sorted(routes, key=lambda route: (-route.total, route.host, route.path, route.method))


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _mongodb(lines: Sequence[str]) -> tuple[Mongodb | None, str]:
    if not lines:
        return None, ""
    its: dict[str, Any] = json.loads(lines[-1])
    if "error" in its:
        return None, its["error"]
    collections = [Collection.model_validate(one) for one in its["collections"]]
    slow = [Query.model_validate(one) for one in its["slow"]]
    own = {"since": _time(its["since"]), "collections": collections, "slow": slow}
    return Mongodb(**{**its, **own, "missing": missing_indexes(slow, collections)}), ""


def _in_backups(lines: Sequence[str]) -> Iterator[Growth]:
    """As the program of backups prints the oldest and the newest full backup."""
    if lines:
        (then, before), (_, after) = json.loads(lines[-1])
        since = datetime.fromtimestamp(then, UTC)
        yield Growth(what="all documents", since=since, before=round(before / MIB), after=round(after / MIB))


def _growth(earlier: Review, host: HostReview) -> Iterator[Growth]:
    before = {one.name: _sizes(one) for one in earlier.hosts}.get(host.name, {})
    for what, mb in _sizes(host).items():
        if what in before:
            yield Growth(what=what, since=earlier.when, before=before[what], after=mb)


def _sizes(host: HostReview) -> dict[str, int]:
    """Of disks, folders and collections, in MiB."""
    sizes = {one.mount: one.used_mb for one in host.disks} | {one.path: one.mb for one in host.folders}
    return sizes | ({one.full_name: one.data_mb for one in host.mongodb.collections} if host.mongodb else {})


def uses_of(hosts: Sequence[HostReview]) -> Uses:
    """The uses of each index on these hosts together."""
    found: Uses = {}
    for host in hosts:
        for collection in host.mongodb.collections if host.mongodb else []:
            for index in collection.indexes:
                uses, since = found.get((collection.full_name, index.name), (0, index.since))
                found[collection.full_name, index.name] = (uses + index.uses, max(since, index.since))
    return found


def remarks(host: HostReview, now: datetime, uses: Uses | None = None) -> Iterator[str]:
    """What deserves a look, the most urgent first. `uses` are those of its indexes on all members of a replica set."""
    for its in host.support:
        yield from _of_support(its, now.date())
    security = [one.package for one in host.updates if one.is_security]
    if security:
        yield f"{counted(len(security), 'security update')} pending (slipway upgrade): {', '.join(security[:5])}"
    if host.reboot_required:
        yield "reboot required: an update is not active"
    if host.mongodb_error:
        yield f"MongoDB could not be asked: {host.mongodb_error}"
    for disk in host.disks:
        percent = 100 * disk.used_mb / max(disk.size_mb, 1)
        if percent >= FULL_PERCENT:
            yield f"{disk.mount}: {percent:.0f} % used"
    for route in host.requests.routes if host.requests else []:
        name = f"{route.host} {route.method} {route.path}".replace("  ", " ")
        if route.requests >= MIN_REQUESTS and 100 * route.server_errors >= ERROR_PERCENT * route.requests:
            yield f"{name}: {route.server_errors} of {route.requests} answers were server errors"
        if route.requests >= MIN_REQUESTS and route.p99 >= SLOW_MS:
            yield f"{name}: p99 {route.p99} ms of {route.requests} requests"
    if host.mongodb:
        yield from _of_mongodb(host.mongodb, now, uses_of([host]) if uses is None else uses)


def _of_support(its: Support, today: date) -> Iterator[str]:
    if its.days_left is None:
        yield f"{its.name}: the end of its security support is unknown"
    elif its.days_left < 0:
        long_days = (its.long_end - today).days if its.long_end else -1
        lts = f"; LTS for {long_days} more days, until {its.long_end}" if long_days >= 0 else ""
        yield f"{its.name}: no regular security support since {its.end}{lts}"
    elif its.days_left <= SOON_DAYS:
        yield f"{its.name}: {its.days_left} days of security support left, until {its.end}"


def _of_mongodb(its: Mongodb, now: datetime, together: Uses) -> Iterator[str]:
    for one in its.missing:
        seconds = one.total / 1000
        scans = f"{counted(one.count, 'slow scan')} of {one.database}.{one.collection}"
        yield f"{scans}, {seconds:.1f} s in all: {one.command}"
    for collection in its.collections:
        for index in collection.indexes:
            uses, since = together.get((collection.full_name, index.name), (1, now))
            days = (now - since).days
            if not uses and not index.purpose and days >= UNUSED_DAYS:
                yield f"{collection.full_name}: index {index.name} ({index.mb} MiB) not used for {days} days"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
