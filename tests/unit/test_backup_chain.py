"""What a repository can restore: slices that cover a time, gaps, and the retention policy."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from slipway.backups.chain import (
    DAY,
    LAST,
    Catalog,
    Full,
    Gap,
    Slice,
    at,
    catalog,
    choose,
    cover,
    gaps,
    newest_of,
    reach,
    seconds_of,
    to_forget,
)


def full(second, name=""):
    """One that takes 10 s, and is hashed at its end."""
    name = name or f"full{second}"
    end = (second, 1)
    return Full(name, (second - 10, 1), end, end, "7.0.5", f"{name}-dump", f"{name}-files", f"{name}-manifest")


def row(*seconds):
    """Slices from each of some seconds to the next one."""
    return [Slice(f"s{a}-{b}", (a, 1), (b, 1)) for a, b in pairwise(seconds)]


def names(slices):
    return [one.snapshot for one in slices]


def test_a_time_is_covered_by_the_fewest_slices_that_overlap():
    slices = [*row(0, 60, 120, 180, 240), Slice("long", (0, 1), (180, 1))]
    assert names(cover(slices, (0, 1), (200, LAST))) == ["long", "s180-240"]
    assert names(cover(slices, (30, 5), (60, 1))) == ["long"]
    assert cover(slices, (60, 1), (60, 1)) == []
    assert reach(slices, (0, 1)) == (240, 1)


def test_a_missing_slice_is_named_with_its_times():
    slices = [one for one in row(0, 60, 120, 180) if one.snapshot != "s60-120"]
    with pytest.raises(Gap) as found:
        cover(slices, (0, 1), (170, LAST))
    assert (found.value.begin, found.value.end) == ((60, 1), (120, 1))
    assert str(found.value) == ("no slice holds what was written between 1970-01-01T00:01:00Z and 1970-01-01T00:02:00Z")
    # An entry at the seam is missing where the next one does not begin with it.
    with pytest.raises(Gap):
        cover([Slice("a", (0, 1), (60, 1)), Slice("b", (60, 2), (120, 1))], (0, 1), (100, LAST))


def test_a_second_is_restored_from_the_newest_full_backup_before_it():
    found = Catalog([full(100), full(400)], row(50, 110, 170, 230, 290, 350, 410, 470), [])
    chosen = choose(found, 300)
    assert (chosen.full.id, chosen.until) == ("full100", (300, LAST))
    assert names(chosen.slices) == ["s50-110", "s110-170", "s170-230", "s230-290", "s290-350"]
    assert choose(found, 400).full.id == "full400"
    assert choose(found).until == (470, 1)
    assert choose(found, id_="full100").until == (100, 1)


@pytest.mark.parametrize(
    ("second", "id_", "said"),
    [
        (99, "", "the oldest second that can be restored is 1970-01-01T00:01:40Z"),
        (470, "", "the newest second that can be restored is 1970-01-01T00:07:49Z"),
        (None, "nothing", "found no backup nothing; there are: full100, full400"),
    ],
)
def test_what_cannot_be_restored_is_reported_with_what_can(second, id_, said):
    found = Catalog([full(100), full(400)], row(50, 110, 170, 230, 290, 350, 410, 470), [])
    with pytest.raises(ValueError, match=said):
        choose(found, second, id_)
    with pytest.raises(ValueError, match="no full backup"):
        choose(Catalog([], [], []), second, id_)


def test_the_newest_second_that_is_named_can_be_restored():
    found = Catalog([full(100), full(400)], row(50, 110, 170, 230, 290, 350, 410, 470), [])
    assert newest_of(found) == at(469)
    assert choose(found, 469).until == (469, LAST)
    # A second may go on after the slices' end, and no slice is there yet.
    for one in (Catalog([full(100)], row(50, 100), []), Catalog([full(100)], [], []), Catalog([], [], [])):
        assert newest_of(one) == ""
    for slices in (row(50, 100), []):
        with pytest.raises(ValueError, match="no second can be restored before the next slice"):
            choose(Catalog([full(100)], slices, []), 100)


def test_seconds_of_a_gap_are_refused_and_those_around_it_are_not():
    slices = [one for one in row(80, 140, 200, 260, 320, 380, 440) if one.snapshot != "s200-260"]
    found = Catalog([full(100), full(350)], slices, [])
    assert choose(found, 199).full.id == "full100"
    with pytest.raises(Gap):
        choose(found, 230)
    assert choose(found, 400).full.id == "full350"
    assert [(gap.begin[0], gap.end[0]) for gap in gaps(found)] == [(200, 350)]
    # Since the last full backup, too.
    (gap,) = gaps(Catalog([full(100)], slices, []))
    assert (gap.begin[0], gap.end[0]) == (200, 440)
    assert gaps(Catalog([full(100), full(350)], row(80, 140, 200, 260, 320, 380), [])) == []


def test_every_second_is_covered_and_any_missing_slice_is_detected():
    """With random slices, including long ones."""
    chance = random.Random(18)
    for _ in range(50):
        cuts = sorted({90, *(chance.randrange(91, 1000) for _ in range(30)), 1000})
        slices = row(*cuts)
        second = chance.randrange(100, 999)
        found = Catalog([full(100)], slices, [])
        chosen = choose(found, second)
        assert chosen.slices[0].begin <= chosen.full.begin
        assert all(a.end >= b.begin for a, b in pairwise(chosen.slices))
        assert chosen.slices[-1].end > (second, 0)
        lost = chance.choice(chosen.slices)
        with pytest.raises((Gap, ValueError)):
            choose(Catalog([full(100)], [one for one in slices if one != lost], []), second)


def snapshot(name, *tags):
    return {"id": name, "tags": ["slipway", *tags]}


def test_a_backup_without_its_manifest_does_not_count():
    moments = ("begin=90:1", "end=100:2", "witness=101:1", "version=7.0.5")
    listed = [
        snapshot("d1", "full", "id=A"),
        snapshot("f1", "files", "id=A"),
        snapshot("m1", "manifest", "id=A", *moments),
        snapshot("d2", "full", "id=B"),
        snapshot("s1", "slice", "begin=90:1", "end=150:4"),
        {"id": "of somebody else", "tags": ["full", "id=C"]},
        {"id": "without tags", "tags": None},
    ]
    found = catalog(listed)
    assert found.fulls == [Full("A", (90, 1), (100, 2), (101, 1), "7.0.5", "d1", "f1", "m1")]
    assert found.slices == [Slice("s1", (90, 1), (150, 4))]
    assert found.broken == [("B", "d2")]


def test_the_policy_keeps_every_second_of_the_last_days_and_one_backup_of_each_day_week_and_month_before():
    now = seconds_of("2026-11-29T12:00:00Z")
    fulls = [full(now - day * DAY, f"day{day}") for day in range(200, -1, -1)]
    fulls.append(full(now + 60, "again"))
    slices = row(*range(now - 20 * DAY, now + 3600, 3600))
    gone = set(to_forget(Catalog(fulls, slices, []), now, daily=7, weekly=4, monthly=3, days=2))
    kept = [one.id for one in fulls if one.dump not in gone]
    # 30 September and 31 October are the newest of their months, days 21, 14 and 7 are Sundays; and both of today.
    assert kept == ["day60", "day29", "day21", "day14", "day7", *(f"day{day}" for day in range(6, -1, -1)), "again"]
    assert {f"{one.id}-files" for one in fulls if one.id not in kept} <= gone
    left = Catalog([one for one in fulls if one.id in kept], [one for one in slices if one.snapshot not in gone], [])
    assert choose(left, now - 2 * DAY + 5).full.id == "day2"
    assert choose(left, now - DAY - 5000).full.id == "day2"
    # Those without which a full backup of before can't be restored, and no others.
    for one in (one for one in left.fulls if now - 20 * DAY < one.since < now):
        assert choose(left, id_=one.id).until == one.end
        assert choose(left, one.since).full == one
    assert len([one for one in left.slices if one.end < (now - 3 * DAY - 10, 0)]) == 2 * 5


def test_the_newest_backup_that_can_be_restored_is_taken_where_a_later_one_lacks_slices():
    found = Catalog([full(100), full(400)], row(50, 110, 170, 230), [])
    assert (choose(found).full.id, choose(found).until) == ("full100", (230, 1))
    with pytest.raises(Gap):
        choose(found._replace(slices=[]))


def test_short_slices_go_once_a_longer_one_holds_them_and_a_restore_does_not_miss_them():
    now = 10**6
    short, long = row(*range(now - 10800, now, 60)), Slice("long", (now - 10800, 1), (now - 7200, 1))
    found = Catalog([full(now - 10750)], [*short, long], [])
    gone = set(to_forget(found, now, 7, 4, 6, 7))
    assert "long" not in gone
    assert len(gone) == 59
    left = found._replace(slices=[one for one in found.slices if one.snapshot not in gone])
    for second in range(now - 10750, now - 120, 97):
        assert choose(left, second)


def test_a_time_is_utc_and_another_notation_is_refused():
    assert at(seconds_of("2026-11-29T15:00:01Z")) == "2026-11-29T15:00:01Z"
    assert seconds_of("2026-11-29 15:00:01") == seconds_of("2026-11-29T15:00:01Z")
    with pytest.raises(ValueError, match="found the time 'yesterday', expected one in UTC"):
        seconds_of("yesterday")
