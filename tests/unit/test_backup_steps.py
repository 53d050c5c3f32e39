"""Which backups count and what is told of them, and that a restore takes the place of nothing until it is proven: by
programs and a repository of the test's own, without a MongoDB."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.backups import chain, host, mongo, program, restoring, steps
from slipway.backups.chain import Catalog, Chosen, Full
from slipway.backups.host import Facts, Failed, read_state
from slipway.backups.oplog import TIMESTAMP, entry, timestamp
from slipway.backups.restic import Repository
from slipway.facts.mongodb_protocol import Typed, encode

DATA = {"shop.orders": [2, "of two orders"]}
# Writes down what it is told, and whether visitors are served meanwhile; all units run.
SYSTEMCTL = '[ -e {0}/maintenance ] && state=closed || state=open; echo "$state: $*" >> {0}/said'
PROGRAMS = {
    "systemctl": SYSTEMCTL,
    "mongod": "echo db version v7.0.5",
    "mongodump": "true",
    "mongorestore": "cat > /dev/null",
}


def written(second: int, operation: str = "i", namespace: str = "shop.orders", **what: str) -> bytes:
    """An entry of the oplog, the first one of its second."""
    at = Typed(TIMESTAMP, timestamp((second, 1)))
    return encode({"op": operation, "ns": namespace, "ts": at, "o": what or {"_id": 1}})


class Server:
    """The site's MongoDB. `ends` is the moment of its last entry, where the oplog is read only up to an earlier one."""

    def __init__(self, *entries: bytes, data=DATA, ends=None):
        self.entries, self.data, self.asked = entries, data, []
        self.ends = ends or (entry(entries[-1]).moment if entries else (0, 0))

    def newest(self):
        return self.ends

    def oplog(self, begin, end):
        return (one for one in self.entries if begin <= entry(one).moment <= end)

    def ask(self, command, database="admin"):
        self.asked.append(command)
        return {"version": "7.0.5"}

    def fingerprint(self, moment=None):
        return self.data

    def hashed(self, database, name):
        return self.data.get(f"{database}.{name}", [0, ""])

    def collections(self):
        return []


class Kept(Repository):
    """A repository that keeps the tags of what it gets."""

    def __init__(self, *listed):
        self.name, self.listed, self.stored, self.given_up, self.ran = "near", [*listed], [], 0, []

    def is_there(self):
        return True

    def snapshots(self):
        return self.listed

    def run(self, *words):
        self.ran.append(words)
        return ""

    def store_paths(self, tags, paths):
        self.stored.append(dict(tags))

    def storing(self, name, tags):
        outer = self

        class Stream:
            def __enter__(self):
                return self

            def __exit__(self, kind, *_):
                outer.given_up += bool(kind)

            def write(self, data):
                pass

            def end(self):
                outer.stored.append(dict(tags))

        return Stream()

    def reading(self, snapshot, name, errors):
        return None


@pytest.fixture
def facts(tmp_path, monkeypatch) -> Facts:
    """A host below one folder, with data that say "old"."""
    for module in (host, restoring):
        monkeypatch.setattr(module, "RUN", str(tmp_path / "run"))
        monkeypatch.setattr(module, "STATE", str(tmp_path / "state"))
    # systemd makes it for the units.
    (tmp_path / "state").mkdir()
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text.format(tmp_path)}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for name in ("BACKUP_PASSWORD", "MONGODB_ADMIN_PASSWORD"):
        (tmp_path / name).write_text("recognisable")
    (tmp_path / "said").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/what").write_text("old")
    values = dict.fromkeys(Facts._fields, "")
    given = {"repositories": {"near": "/srv"}, "credentials": str(tmp_path), "data": str(tmp_path / "data")}
    lists = {"paths": [], "secrets": [], "units": ["shop.service"], "flags": [f"{tmp_path}/maintenance"]}
    policy = dict.fromkeys(("daily", "weekly", "monthly", "days"), 7)
    return Facts(**{**values, **given, **lists, **policy, "prunes": True})


@pytest.fixture
def kept(monkeypatch) -> Kept:
    kept = Kept()
    monkeypatch.setattr(steps, "repositories", lambda facts: [kept])
    monkeypatch.setattr(steps, "_dump", lambda facts, targets, tags, failures: (targets, 5))
    return kept


def live(monkeypatch, server: Server) -> Server:
    monkeypatch.setattr(mongo, "live", lambda facts: server)
    return server


# --- What counts -----------------------------------------------------------------------------------------------------


def test_a_backup_during_which_a_collection_was_renamed_does_not_count(facts, kept, monkeypatch):
    live(monkeypatch, Server(written(100, "c", "shop.$cmd", renameCollection="shop.a", to="shop.b")))
    with pytest.raises(Failed, match=r"shop\.\$cmd: renamed during the backup"):
        steps.now(facts)
    assert kept.stored == []
    assert "full" not in read_state()
    live(monkeypatch, Server(written(100)))
    steps.now(facts)
    assert [*map(set, kept.stored)][-1] >= {"manifest", "begin", "end", "witness"}
    assert read_state()["full"]["failures"] == []


def test_a_slice_begins_where_the_one_before_ended(facts, kept, monkeypatch):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (100, 105, 110))))
    for _ in range(2):
        steps.take_slices(facts)
    assert kept.stored == [{"slice": "", "begin": "100:1", "end": "110:1"}]
    assert read_state()["reached"] == {"near": "110:1"}


def test_what_the_oplog_has_lost_is_told_with_its_times_and_a_full_backup_begins(facts, kept, monkeypatch, tmp_path):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (200, 210))))
    lost = r"between 1970-01-01T00:01:40Z and 1970-01-01T00:03:20Z: no second between them can be restored"
    with pytest.raises(Failed, match=lost):
        steps.take_slices(facts)
    assert kept.stored == [{"slice": "", "begin": "200:1", "end": "210:1"}]
    assert read_state()["gap"] == {"begin": 100, "end": 200, "repository": "near"}
    assert (tmp_path / "said").read_text() == "open: start --no-block slipway-backup.service\n"


def test_a_slice_that_ends_too_early_is_none(facts, kept, monkeypatch):
    host.change_state(full={"id": "A"}, reached={"near": "100:1"})
    live(monkeypatch, Server(*map(written, (100, 105)), ends=(110, 1)))
    with pytest.raises(Failed, match="the oplog ends at"):
        steps.take_slices(facts)
    assert (kept.stored, kept.given_up) == ([], 1)
    assert read_state()["reached"] == {"near": "100:1"}


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
    assert kept.ran == []
    steps.now(facts)
    assert [words[0] for words in kept.ran] == ["unlock", "forget", "prune"]


@pytest.mark.parametrize(
    ("state", "is_fresh"),
    [
        ({}, True),
        ({"full": {"time": 1_000_000 - 25 * 3600, "failures": []}}, True),
        ({"full": {"time": 1_000_000 - 27 * 3600, "failures": []}}, False),
        ({"full": {"time": 1_000_000, "failures": ["far: the disk is full"]}}, False),
    ],
)
def test_a_backup_that_is_late_or_failed_somewhere_is_not_fresh(monkeypatch, state, is_fresh):
    monkeypatch.setattr(program, "time", SimpleNamespace(time=lambda: 1_000_000.0))
    monkeypatch.setattr(program, "read_state", lambda: state)
    assert program.is_fresh("now") is is_fresh


# --- Restores --------------------------------------------------------------------------------------------------------


@pytest.fixture
def restored(facts, kept, monkeypatch):
    """What is found in the repository; restoring makes a folder that says "new", and data that `shows` has."""

    class Scratch:
        shows = DATA
        uri = "mongodb://scratch"

        def __init__(self, facts, folder, place):
            self.folder = Path(folder)

        def start(self):
            self.folder.mkdir()
            (self.folder / "what").write_text("new")

        def load(self, source):
            pass

        def replay(self, file):
            pass

        def fingerprint(self):
            return self.shows

        def hashed(self, database, name):
            return self.shows[f"{database}.{name}"]

        def collections(self):
            return [tuple(name.split(".")) for name in self.shows]

        def take_users(self, server):
            pass

        def stop(self):
            pass

    monkeypatch.setattr(mongo, "Scratch", Scratch)
    monkeypatch.setattr(restoring, "take_slices", lambda facts, waits: None)
    monkeypatch.setattr(restoring, "Repository", lambda facts, name: kept)
    full = Full("A", (90, 1), (100, 1), (101, 1), "7.0.5", "d", "f", "m")
    found = restoring.Found(kept, Chosen(full, [], (200, 1)), {"bytes": 10, "collections": DATA, "paths": []})
    monkeypatch.setattr(restoring, "find", lambda *_: found)
    found.scratch = Scratch
    return found


def what(facts: Facts, suffix: str = "") -> str:
    file = Path(f"{facts.data}{suffix}/what")
    return file.read_text() if file.exists() else "nothing"


def test_what_is_restored_takes_the_place_while_the_site_is_closed_and_the_data_of_before_stay(
    facts, restored, monkeypatch, tmp_path
):
    live(monkeypatch, Server())
    restoring.restore(facts, restored, "", False, False)
    assert (what(facts), what(facts, ".before-restore"), what(facts, ".restore")) == ("new", "old", "nothing")
    said = (tmp_path / "said").read_text().splitlines()
    assert said[:2] == ["closed: stop mongod.service", "closed: start mongod.service"]
    assert "closed: restart shop.service" in said
    assert not (tmp_path / "maintenance").exists()
    assert read_state()["awaits"]


def test_a_site_that_was_closed_before_a_restore_is_closed_after_it(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server())
    (tmp_path / "maintenance").touch()
    restoring.restore(facts, restored, "", False, False)
    assert (tmp_path / "maintenance").exists()


def test_what_differs_from_its_backup_takes_the_place_of_nothing(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server())
    restored.scratch.shows = {"shop.orders": [1, "of one order"]}
    with pytest.raises(
        Failed, match=r"the restored data differ from the backup's record:\nshop\.orders: 2 -> 1 documents"
    ):
        restoring.restore(facts, restored, "", False, False)
    assert (what(facts), what(facts, ".restore")) == ("old", "nothing")
    assert (tmp_path / "said").read_text() == "", "MongoDB runs on"


def test_what_differs_once_it_is_in_place_goes_again(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server(data={}))
    with pytest.raises(Failed, match="the restored data differ after the exchange"):
        restoring.restore(facts, restored, "", False, False)
    assert (what(facts), what(facts, ".restore")) == ("old", "nothing")
    assert (tmp_path / "said").read_text().splitlines()[-1] == "closed: start mongod.service"
    assert not (tmp_path / "maintenance").exists()
    assert "awaits" not in read_state()


def test_one_collection_whose_copy_differs_is_thrown_away_and_the_present_one_stays(facts, restored, monkeypatch):
    live(monkeypatch, Server(data={"shop.orders.slipway_restored": [1, "of one order"]}))
    with pytest.raises(Failed, match=r"shop\.orders: the copy differs from the restored data; nothing was changed"):
        restoring.restore(facts, restored, "shop.orders", False, False)
    right = live(monkeypatch, Server(data={"shop.orders.slipway_restored": DATA["shop.orders"]}))
    restoring.restore(facts, restored, "shop", False, False)
    (move,) = [one for one in right.asked if "renameCollection" in one]
    assert (move["renameCollection"], move["to"]) == ("shop.orders.slipway_restored", "shop.orders")
    assert move["dropTarget"], "at once"


def test_a_drill_fails_where_the_data_of_its_moment_are_not_what_is_restored(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server(data=DATA, ends=(200, 1)))
    restoring.drill(facts)
    assert json.loads((tmp_path / "state/drill.json").read_text())["result"] == "passed"
    live(monkeypatch, Server(data={"shop.orders": [3, "of three orders"]}, ends=(200, 1)))
    with pytest.raises(Failed, match="the drill failed: the restored data differ from the backup's record"):
        restoring.drill(facts)
    report = json.loads((tmp_path / "state/drill.json").read_text())
    assert (report["result"], len(report["signature"])) == ("failed", 64)
    assert not Path(f"{facts.data}.drill").exists()


def test_a_drill_may_be_the_first_step_on_a_host(facts, restored, monkeypatch, tmp_path):
    (tmp_path / "state").rmdir()
    live(monkeypatch, Server(data=DATA, ends=(200, 1)))
    restoring.drill(facts)
    assert json.loads((tmp_path / "state/drill.json").read_text())["result"] == "passed"


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
