"""Which backups count, and what is told of them: by programs and a repository of the test's own, without a MongoDB."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from slipway.backups import chain, host, program, slicing, steps
from slipway.backups.chain import Catalog, Full
from slipway.backups.host import Busy, Facts, Failed, read_state
from slipway.tasks.backup import WITHOUT_FULL
from support.backed_up import Kept, Server, backed_up_host, kept_in, live, written


@pytest.fixture
def facts(tmp_path, monkeypatch) -> Facts:
    return backed_up_host(tmp_path, monkeypatch)


@pytest.fixture
def kept(monkeypatch) -> Kept:
    return kept_in(monkeypatch)


def test_a_backup_during_which_a_collection_was_renamed_does_not_count(facts, kept, monkeypatch):
    renamed = written(100, "c", "shop.$cmd", renameCollection="shop.a", to="shop.b")
    live(monkeypatch, Server(written(99), renamed, begins=(99, 1)))
    with pytest.raises(Failed, match=r"shop\.\$cmd: renamed during the backup"):
        steps.now(facts)
    assert kept.stored == []
    assert "full" not in read_state()
    # One that was the last before it is no reason.
    live(monkeypatch, Server(renamed))
    steps.now(facts)
    assert [*map(set, kept.stored)][-1] >= {"manifest", "begin", "end", "witness"}
    assert read_state()["full"]["failures"] == []


def test_a_slice_begins_where_the_one_before_ended(facts, kept, monkeypatch):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (100, 105, 110))))
    for _ in range(2):
        slicing.take_slices(facts)
    assert kept.stored == [{"slice": "", "begin": "100:1", "end": "110:1"}]
    assert read_state()["reached"] == {"near": "110:1"}
    assert read_state()["places"] == {"near": "/srv"}


def test_a_repository_that_was_away_gets_slices_of_ten_minutes_and_goes_on_next_time(facts, kept, monkeypatch):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, range(100, 1600, 100))))
    slicing.take(facts, seconds=0)  # no time for more than one
    assert kept.stored == [{"slice": "", "begin": "100:1", "end": "700:1"}]
    assert (read_state()["reached"], read_state()["sliced"]) == ({"near": "700:1"}, {"near": 700})
    slicing.take(facts)
    assert [one["end"] for one in kept.stored] == ["700:1", "1300:1", "1500:1"]
    assert read_state()["sliced"]["near"] > 1500, "up to now"


def test_the_oplog_is_read_no_further_for_a_repository_that_has_failed(facts, kept, monkeypatch):
    class Stream:
        failure = ""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            read.append(data)
            self.failure = "no route to host"

        def end(self):
            raise Failed(f"repository near: {self.failure}")

    read: list[bytes] = []
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, range(100, 200))))
    monkeypatch.setattr(kept, "storing", lambda name, tags: Stream())
    with pytest.raises(Failed, match="repository near: no route to host"):
        slicing.take_slices(facts)
    assert len(read) == 2


def test_a_repository_that_is_added_later_gets_slices_after_its_first_full_backup(facts, kept, monkeypatch, capsys):
    host.change_state(full={"id": "A"}, reached={"old": "90:1"}, fulls={"old": "A"})
    live(monkeypatch, Server(*map(written, (100, 105))))
    monkeypatch.setattr(kept, "snapshots", lambda: pytest.fail("there is no repository yet"))
    slicing.take_slices(facts)
    assert (kept.stored, "no slice, as there is no full backup yet" in capsys.readouterr().out) == ([], True)
    steps.now(facts._replace(prunes=False))
    slicing.take_slices(facts)
    assert {*read_state()["sliced"]} == {"near"}


def test_what_the_oplog_has_lost_is_told_with_its_times_and_a_full_backup_begins(facts, kept, monkeypatch, tmp_path):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (200, 210))))
    lost = r"between 1970-01-01T00:01:40Z and 1970-01-01T00:03:20Z: no second between them can be restored"
    with pytest.raises(Failed, match=lost):
        slicing.take_slices(facts)
    assert kept.stored == [{"slice": "", "begin": "200:1", "end": "210:1"}]
    assert read_state()["gap"] == {"begin": 100, "end": 200, "repository": "near"}
    assert (tmp_path / "said").read_text() == "open: start --no-block slipway-backup.service\n"


def test_a_slice_that_ends_too_early_is_none(facts, kept, monkeypatch):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (100, 105)), ends=(110, 1)))
    with pytest.raises(Failed, match="the oplog ends at"):
        slicing.take_slices(facts)
    assert (kept.stored, kept.given_up) == ([], 1)
    assert read_state()["reached"] == {"near": "100:1"}


def test_a_mongodb_that_has_begun_anew_is_not_backed_up_in_place_of_its_data(facts, kept, monkeypatch):
    """As one with an empty disk."""
    server = live(monkeypatch, Server(*map(written, (100, 105))))
    steps.now(facts)
    server.set = "since today"
    for step in (slicing.take_slices, steps.now):
        kept.stored.clear()
        with pytest.raises(Failed, match="MongoDB has begun anew since the last full backup"):
            step(facts)
        assert kept.stored == []
    # Restored data begin anew, too.
    host.change_state(awaits=True)
    steps.now(facts)
    slicing.take_slices(facts)
    server.set = "since tomorrow"
    steps.now(facts, anyway=True)
    slicing.take_slices(facts)


def test_the_lock_of_a_killed_prune_keeps_no_slice_from_its_place(facts, kept, monkeypatch):
    locks = ["of a killed prune"]

    class Stream:
        failure = ""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            pass

        def end(self):
            if locks:
                raise Busy("repository near: already locked")

    def run(*words, timeout):
        kept.ran.append(words)
        locks.clear()

    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (100, 105))))
    monkeypatch.setattr(kept, "storing", lambda name, tags: Stream())
    monkeypatch.setattr(kept, "run", run)
    slicing.take_slices(facts)
    assert (kept.ran, read_state()["reached"]) == ([("unlock",)], {"near": "105:1"})
    # That of one that runs stays.
    host.change_state(reached={"near": "100:1"})
    locks.append("of a prune that runs")
    monkeypatch.setattr(kept, "run", lambda *words, timeout: "")
    with pytest.raises(Busy):
        slicing.take_slices(facts)


def test_a_new_server_leaves_the_backups_of_the_one_before_alone(facts, kept, monkeypatch):
    live(monkeypatch, Server(written(100)))
    of_another = Full("A", (90, 1), (95, 1), (95, 1), "7.0.5", "d", "f", "m")
    monkeypatch.setattr(chain, "catalog", lambda snapshots: Catalog([of_another], [], []))
    with pytest.raises(Failed, match="found another server's backups"):
        steps.now(facts)
    assert kept.stored == []
    steps.now(facts._replace(prunes=False), anyway=True)
    assert kept.stored


def test_a_server_that_may_only_add_forgets_nothing(facts, kept, monkeypatch):
    live(monkeypatch, Server(written(100)))
    monkeypatch.setattr(chain, "to_forget", lambda *_: ["old"])
    steps.now(facts._replace(prunes=False))
    assert [words[0] for words in kept.ran] == ["unlock"], "of those that were killed"
    kept.ran.clear()
    steps.now(facts)
    assert [words[0] for words in kept.ran] == ["unlock", "unlock", "forget", "prune"]


def test_a_repository_that_removes_nothing_is_named_whatever_restic_says(facts, kept, monkeypatch):
    monkeypatch.setattr(chain, "to_forget", lambda *_: ["old", "older"])
    kept.listed = [{"id": "old"}]
    with pytest.raises(Failed, match=r"repository near: 1 of 2 snapshots were not removed; .* backup_prune = False"):
        steps.prune(facts)
    assert [words[0] for words in kept.ran] == ["unlock", "forget"]


NOW = 1_000_000
WELL = {"time": NOW, "failures": []}


def why_late(monkeypatch, step: str, facts: Facts, state, drill=()) -> str:
    monkeypatch.setattr(program, "time", SimpleNamespace(time=lambda: float(NOW)))
    monkeypatch.setattr(program, "read_state", lambda: state)
    monkeypatch.setattr(program, "read_drill", lambda: dict(drill))
    return program.why_late(step, facts)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({}, ""),
        ({"since": NOW - 25 * 3600}, ""),
        ({"since": NOW - 27 * 3600}, "there is no full backup, since backups are on (1970-01-11T10:46:40Z)"),
        ({"full": {"time": NOW - 25 * 3600, "failures": []}}, ""),
        ({"full": {"time": NOW - 27 * 3600, "failures": []}}, "the last full backup is 27 hours old"),
        # Of a clock that was ahead: it would be young for as long as that.
        ({"full": {"time": NOW + 3600, "failures": []}}, "is yet to come: the clock was wrong"),
        ({"full": {"time": NOW, "failures": ["far: the disk\nis full"]}}, "backup failed: far: the disk is full"),
    ],
)
def test_a_backup_that_is_late_or_failed_somewhere_is_not_fresh(facts, monkeypatch, state, why):
    said = why_late(monkeypatch, "now", facts, state)
    assert why in said
    assert bool(said) is bool(why)


@pytest.mark.parametrize(
    ("state", "drill", "why"),
    [
        ({"since": NOW - 7 * 86400}, {}, ""),
        ({"since": NOW - 9 * 86400}, {}, "there was no drill"),
        ({}, {"result": "passed", "time": "1970-01-11T00:00:00Z"}, ""),
        ({}, {"result": "passed", "time": "1970-01-01T00:00:00Z"}, "the last drill is 278 hours old"),
        ({}, {"result": "failed", "time": "1970-01-11T00:00:00Z", "why": "a\nb"}, "the last drill failed: a b"),
    ],
)
def test_a_drill_that_is_late_or_failed_is_told(facts, monkeypatch, state, drill, why):
    said = why_late(monkeypatch, "drill", facts, state, drill)
    assert why in said
    assert bool(said) is bool(why)


@pytest.mark.parametrize(
    ("state", "is_fresh"),
    [
        ({"sliced": {"near": NOW - 60}}, True),
        ({"sliced": {"near": NOW - 600}}, False),
        ({"sliced": {"near": NOW + 600}}, False),
        # One that was renamed or removed.
        ({"sliced": {"near": NOW - 60, "old": 1}}, True),
        # After a restore they wait for the next full backup, for some hours.
        ({"sliced": {"near": NOW - 600}, "awaits": True}, True),
        ({"sliced": {"near": NOW - 7 * 3600}, "awaits": True}, False),
        ({"sliced": {"near": NOW - 600}, "pruning": NOW - 700}, True),
        ({"sliced": {"near": NOW - 600}, "pruning": None}, False),
        ({"sliced": {"near": NOW - 600}, "full": {"time": NOW - 60, "failures": []}}, True),
        ({"sliced": {"near": NOW - 600}, "full": {"time": NOW - 60, "failures": ["near: full"]}}, False),
        ({"sliced": {"near": NOW - 600}, "full": {"time": NOW + 3600, "failures": []}}, False),
    ],
)
def test_slices_of_the_configured_repositories_are_fresh_unless_one_is_late(facts, monkeypatch, state, is_fresh):
    its = facts._replace(repositories={"near": "/srv/backup"})
    said = why_late(monkeypatch, "slice", its, state)
    assert bool(said) is not is_fresh
    assert not said or "in repository near is " in said
    full = {**state, "full": {"time": 1, "failures": []}}  # for the line of `slipway status`
    monkeypatch.setattr(program, "read_state", lambda: full)
    assert "old" not in program.told("backup", its)


@pytest.mark.parametrize(
    ("state", "begins"),
    [
        (None, True),
        ({"full": {}, "fulls": {"near": "A", "far": "A"}}, False),
        # Of an earlier version.
        ({"full": {}, "sliced": {"near": 1, "far": 1, "old": 1}}, False),
        ({"full": {}, "fulls": {"near": "A"}, "sliced": {"near": 1}}, True),
        ({"restored": {}, "sliced": {"near": 1, "far": 1}}, True),
    ],
)
def test_a_full_backup_begins_where_a_repository_has_none(tmp_path, state, begins):
    file = tmp_path / "state.json"
    if state is not None:
        file.write_text(json.dumps(state))
    words = [sys.executable, "-c", WITHOUT_FULL.format(state=file), "near", "far"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stdout.strip() == "none" or done.returncode != 0) is begins


def test_a_repository_is_made_where_none_has_been(facts, kept, monkeypatch):
    live(monkeypatch, Server(written(100)))
    monkeypatch.setattr(kept, "is_there", lambda: False)
    host.change_state(places={"near": "/srv"}, full={"id": "A"})
    with pytest.raises(Failed, match="found none at /srv, where it was"):
        steps.now(facts)
    steps.now(facts, anyway=True)
    host.change_state(places={"near": "/mnt/before"})
    steps.now(facts)
    assert [words for words in kept.ran if words[0] == "init"] == [("init",), ("init",)]


def test_what_a_full_backup_that_failed_has_left_is_forgotten_a_day_later():
    found = Catalog([], [], [("20261127T030000Z", "of the day before yesterday"), ("20261129T030000Z", "of today")])
    now = chain.seconds_of("2026-11-29T12:00:00Z")
    assert chain.to_forget(found, now, 7, 4, 12, 7) == ["of the day before yesterday"]


def test_a_check_fails_where_a_second_since_the_last_backup_is_lost(facts, kept, monkeypatch, capsys):
    full = Full("A", (90, 1), (95, 1), (95, 1), "7.0.5", "d", "f", "m")
    slices = [chain.Slice("a", (80, 1), (100, 1)), chain.Slice("b", (150, 1), (200, 1))]
    monkeypatch.setattr(chain, "catalog", lambda snapshots: Catalog([full], slices[:1], []))
    steps.check(facts)
    monkeypatch.setattr(chain, "catalog", lambda snapshots: Catalog([full], slices, []))
    with pytest.raises(Failed, match=r"no slice holds what was written between .*, since the last full backup"):
        steps.check(facts)


def test_a_slice_that_takes_long_is_no_failure_of_a_full_backup(facts, kept, monkeypatch):
    def busy(facts, waits):
        raise Busy("another slice is running")

    live(monkeypatch, Server(written(100)))
    monkeypatch.setattr(steps, "take_slices", busy)
    steps.now(facts)
    assert read_state()["full"]["failures"] == []


def test_the_sizes_of_the_oldest_and_the_newest_backup_are_those_of_a_repository_that_answers(
    facts, kept, monkeypatch, capsys
):
    class Away(Kept):
        def snapshots(self):
            raise Failed("no route to host")

    fulls = [Full(name, (time, 1), (time, 1), (time, 1), "7.0.5", "", "", name) for name, time in (("a", 1), ("b", 2))]
    monkeypatch.setattr(steps, "repositories", lambda facts: [Away(), kept])
    monkeypatch.setattr(chain, "catalog", lambda listed: Catalog(fulls, [], []))
    monkeypatch.setattr(
        kept, "read", lambda manifest, name: json.dumps({"bytes": {"a": 5, "b": 9}[manifest]}), raising=False
    )
    steps.sizes(facts)
    assert json.loads(capsys.readouterr().out) == [[1, 5], [2, 9]]
    fulls.clear()
    steps.sizes(facts)
    assert capsys.readouterr().out == ""


def test_the_backups_of_a_repository_are_listed_where_another_one_does_not_answer(facts, kept, monkeypatch, capsys):
    class Away(Kept):
        def snapshots(self):
            raise Failed("repository far: restic had no answer for 60 s")

    away = Away()
    away.name = "far"
    monkeypatch.setattr(steps, "repositories", lambda facts: [away, kept])
    steps.listed(facts)
    listed = json.loads(capsys.readouterr().out)
    assert listed["far"]["error"] == "repository far: restic had no answer for 60 s"
    assert listed["near"] == {"backups": [], "newest": "", "slices": 0, "gaps": []}
    monkeypatch.setattr(steps, "repositories", lambda facts: [away])
    with pytest.raises(Failed, match="no answer"):
        steps.listed(facts)
