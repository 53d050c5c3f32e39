"""What a repository can restore: full backups, slices of the oplog, and the times that they cover.

A moment is a MongoDB timestamp: seconds since the epoch, and an ordinal within the second. A full backup was dumped
between `begin` and `end`; with the oplog after `begin` it gives the data at any later moment that slices cover. A
slice holds the oplog from `begin` to `end`, both inclusive: the next one starts at that end, so that two slices overlap
by an entry; if they do not, entries are missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Moment = tuple[int, int]
# The last possible ordinal of a second.
LAST = 2**32 - 1
# Tags of snapshots, so that nothing below needs to read their content.
MARK, FULL, FILES, MANIFEST, SLICE, DRILL = "slipway", "full", "files", "manifest", "slice", "drill"
# The id of a full backup: when it began, in UTC.
ID_FORM = "%Y%m%dT%H%M%SZ"
DAY = 86400
# A younger slice is kept even if a longer one covers it.
RECENT_SECONDS = 7200


class Slice(NamedTuple):
    snapshot: str
    begin: Moment
    end: Moment


class Full(NamedTuple):
    """A complete full backup: its manifest is written last."""

    id: str
    begin: Moment
    end: Moment
    # When its documents were counted and hashed.
    witness: Moment
    version: str
    # Its snapshots.
    dump: str
    files: str
    manifest: str

    @property
    def since(self) -> int:
        """The first second that it can restore, with the slices that follow."""
        return self.end[0]


class Catalog(NamedTuple):
    """The content of a repository, oldest first; `broken` are snapshots of full backups without a manifest, each after
    the backup's id."""

    fulls: list[Full]
    slices: list[Slice]
    broken: list[tuple[str, str]]


class Gap(Exception):
    """Oplog entries that no slice holds."""

    def __init__(self, begin: Moment, end: Moment) -> None:
        self.begin, self.end = begin, end
        super().__init__(f"no slice holds what was written between {at(begin[0])} and {at(end[0])}")


def at(seconds: int) -> str:
    """A time in the format of --at."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def seconds_of(text: str) -> int:
    """Parse a UTC time such as `2026-11-29T15:00:01Z` to seconds since the epoch. Raises ValueError."""
    import calendar

    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
        try:
            return calendar.timegm(time.strptime(text, form))
        except ValueError:
            continue
    raise ValueError(f"found the time {text!r}, expected one in UTC as 2026-11-29T15:00:01Z")


def tag_of(moment: Moment) -> str:
    return f"{moment[0]}:{moment[1]}"


def moment_of(text: str) -> Moment:
    seconds, _, number = text.partition(":")
    return int(seconds), int(number)


def tags_of(snapshot: dict[str, Any]) -> dict[str, str]:
    """The tags of a snapshot by name; "" for those without a value."""
    return {name: value for name, _, value in (tag.partition("=") for tag in snapshot.get("tags") or [])}


def catalog(snapshots: Iterable[dict[str, Any]]) -> Catalog:
    """The catalog from `restic snapshots --json`, ignoring other snapshots in the repository."""
    ours = [(one["id"], tags) for one in snapshots if MARK in (tags := tags_of(one))]
    parts: dict[str, dict[str, str]] = {}
    for snapshot, tags in ours:
        for kind in (FULL, FILES):
            if kind in tags:
                parts.setdefault(tags.get("id", ""), {})[kind] = snapshot
    fulls = [
        Full(
            tags["id"],
            moment_of(tags["begin"]),
            moment_of(tags["end"]),
            moment_of(tags["witness"]),
            tags.get("version", ""),
            parts[tags["id"]][FULL],
            parts[tags["id"]].get(FILES, ""),
            snapshot,
        )
        for snapshot, tags in ours
        if MANIFEST in tags and FULL in parts.get(tags.get("id", ""), {})
    ]
    complete = {full.id for full in fulls}
    slices = [
        Slice(snapshot, moment_of(tags["begin"]), moment_of(tags["end"])) for snapshot, tags in ours if SLICE in tags
    ]
    broken = [(id_, snapshot) for id_, its in parts.items() if id_ not in complete for snapshot in its.values()]
    return Catalog(sorted(fulls, key=lambda one: one.end), sorted(slices, key=lambda one: one.end), broken)


def cover(slices: Sequence[Slice], begin: Moment, end: Moment) -> list[Slice]:
    """The fewest slices that hold all entries from `begin` to `end`. Raises Gap."""
    found: list[Slice] = []
    reached = begin
    while reached < end:
        fitting = [one for one in slices if one.begin <= reached < one.end]
        if not fitting:
            following = [one.begin for one in slices if one.begin > reached]
            raise Gap(reached, min([*following, end]))
        best = max(fitting, key=lambda one: one.end)
        found.append(best)
        reached = best.end
    return found


def reach(slices: Sequence[Slice], begin: Moment) -> Moment:
    """The last moment up to which slices hold all entries from `begin` on."""
    reached = begin
    while further := [one.end for one in slices if one.begin <= reached < one.end]:
        reached = max(further)
    return reached


class Chosen(NamedTuple):
    """The input of a restore: a full backup, the slices to apply, and the last moment to apply."""

    full: Full
    slices: list[Slice]
    until: Moment


def choose(found: Catalog, second: int | None = None, id_: str = "", until: Moment | None = None) -> Chosen:
    """Choose the input to restore to the end of a second, to the newest moment (None), or to the end of backup `id_`,
    or to the moment `until` by that backup.

    Raises Gap, or ValueError with the available times.
    """
    if not found.fulls:
        raise ValueError("the repository holds no full backup; `slipway backup now` makes one")
    if id_:
        full = next((one for one in found.fulls if one.id == id_), None)
        if full is None:
            raise ValueError(f"found no backup {id_}; there are: {', '.join(one.id for one in found.fulls)}")
        end = until or full.end
        return Chosen(full, cover(found.slices, full.begin, end), end)
    if second is None:
        reached = {full.id: reach(found.slices, full.begin) for full in found.fulls}
        whole = [full for full in found.fulls if reached[full.id] >= full.end]
        if not whole:
            raise Gap(reached[found.fulls[-1].id], found.fulls[-1].end)
        newest = reached[whole[-1].id]
        return Chosen(whole[-1], cover(found.slices, whole[-1].begin, newest), newest)
    earlier = [one for one in found.fulls if one.since <= second]
    if not earlier:
        raise ValueError(f"the oldest second that can be restored is {at(found.fulls[0].since)}")
    full, until = earlier[-1], (second, LAST)
    newest = reach(found.slices, full.begin)
    if newest < until and all(one.end <= newest for one in found.slices):
        last = newest_of(found)
        raise ValueError(
            f"the newest second that can be restored is {last}"
            if last
            else "no second can be restored before the next slice, which comes within minutes; the newest data can,"
            " without --at"
        )
    return Chosen(full, cover(found.slices, full.begin, until), until)


def newest_of(found: Catalog) -> str:
    """The newest second that can be restored, in the format of --at; "" before there is one. The second that the
    slices end in may be incomplete in them."""
    second = reach(found.slices, found.fulls[-1].begin)[0] - 1 if found.fulls else 0
    return at(second) if found.fulls and second >= found.fulls[0].since else ""


def gaps(found: Catalog) -> list[Gap]:
    """The times after the first full backup that can't be restored."""
    missing: list[Gap] = []
    if not found.fulls:
        return missing
    newest = max([(0, 0), *(one.end for one in found.slices)])
    for full, following in zip(found.fulls, [*found.fulls[1:], None], strict=True):
        last = following.end if following else max(newest, full.end)
        reached = reach(found.slices, full.begin)
        if reached < last:
            missing.append(Gap(reached, last))
    return missing


def to_forget(found: Catalog, now: int, daily: int, weekly: int, monthly: int, days: int) -> list[str]:
    """The snapshots to delete by the retention policy, and those of full backups that never became complete.

    Of the last `days`, every second is kept: all full backups, the one before them, and the slices since then. Of the
    time before, the newest full backup of each of the last days, weeks and months that have one, with the slices of
    the time it was made in, without which it can't be restored. Slices that a longer one covers are deleted.
    """
    since = now - days * DAY
    before = [full for full in found.fulls if full.end[0] < since][-1:]
    window = [*before, *(full for full in found.fulls if full.end[0] >= since)]
    kept = {full.id for full in window}
    for form, number in (("%Y-%j", daily), ("%G-%V", weekly), ("%Y-%m", monthly)):
        newest = {time.strftime(form, time.gmtime(full.end[0])): full.id for full in found.fulls}
        kept |= {*[*newest.values()][len(newest) - min(number, len(newest)) :]}
    gone = [full for full in found.fulls if full.id not in kept]
    oldest = window[0].begin if window else (0, 0)
    staying = [full for full in found.fulls if full.id in kept]
    unneeded = [
        one
        for one in found.slices
        if (one.end < oldest and not any(_completes(one, full) for full in staying))
        or _is_held(one, found.slices, now - RECENT_SECONDS)
    ]
    forgotten = [snapshot for full in gone for snapshot in (full.dump, full.files, full.manifest) if snapshot]
    # One of today may be in the making.
    yesterday = time.strftime(ID_FORM, time.gmtime(now - DAY))
    broken = [snapshot for id_, snapshot in found.broken if id_ < yesterday]
    return [*forgotten, *(one.snapshot for one in unneeded), *broken]


def _completes(one: Slice, full: Full) -> bool:
    """Whether a slice has entries of the time in which a full backup was made, up to the end of its last second."""
    return full.begin < one.end and one.begin <= (full.since, LAST)


def _is_held(one: Slice, slices: Sequence[Slice], before: int) -> bool:
    """Whether a longer slice covers this one, and it is older than `before`."""
    return one.end[0] < before and any(
        other.begin <= one.begin and one.end <= other.end and other[1:] != one[1:] for other in slices
    )
