"""A host with backups, without a MongoDB: programs that write down what they are told, a server and a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.backups import host, mongo, replacing, restoring, slicing, steps
from slipway.backups.chain import Chosen, Full
from slipway.backups.host import Facts
from slipway.backups.oplog import TIMESTAMP, entry, timestamp
from slipway.backups.restic import Repository
from slipway.facts.mongodb_protocol import Typed, encode

DATA = {"shop.orders": [2, "of two orders"]}
# Writes down what it is told, and whether visitors are served meanwhile; all units run.
SYSTEMCTL = """
[ $1 != is-active ] || exit 0
[ -e {0}/maintenance ] && state=closed || state=open; echo "$state: $*" >> {0}/said
"""
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
    """The site's MongoDB. `ends` is the moment of its last entry, where the oplog is read only up to an earlier one;
    `begins` is that of the last one before a dump."""

    def __init__(self, *entries: bytes, data=DATA, ends=None, begins=None):
        self.entries, self.data, self.asked = entries, data, []
        self.set = "since its beginning"
        self.ends = ends or (entry(entries[-1]).moment if entries else (0, 0))
        self.begins = begins or self.ends

    def newest(self):
        return self.ends

    def applied(self):
        return self.begins

    def following(self, moment):
        return min((at for one in self.entries if (at := entry(one).moment) >= moment), default=(2**32 - 1, 0))

    def oplog(self, begin, end):
        return (one for one in self.entries if begin <= entry(one).moment <= end)

    def ask(self, command, database="admin"):
        self.asked.append(command)
        return {"version": "7.0.5", "ttlMonitorEnabled": True}

    def fingerprint(self, moment=None):
        return self.data

    def hashed(self, database, name):
        return self.data.get(f"{database}.{name}", [0, ""])

    def collections(self):
        return []

    def set_id(self):
        return self.set


class Kept(Repository):
    """A repository that keeps the tags of what it gets."""

    def __init__(self, *listed):
        self.place = "/srv"
        self.name, self.listed, self.stored, self.given_up, self.ran = "near", [*listed], [], 0, []

    def is_there(self):
        return True

    def snapshots(self):
        return self.listed

    def run(self, *words, timeout=None):
        self.ran.append(words)
        return ""

    def store_paths(self, tags, paths):
        self.stored.append(dict(tags))
        self.paths = [*paths]

    def storing(self, name, tags):
        outer = self

        class Stream:
            failure = ""

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


def backed_up_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """A host below one folder, with data that say "old"."""
    for module in (host, restoring, replacing):
        monkeypatch.setattr(module, "RUN", str(tmp_path / "run"))
    for its in (host, restoring):
        monkeypatch.setattr(its, "STATE", str(tmp_path / "state"))
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
    lists = {"paths": [], "secrets": [], "units": ["shop.service"], "timers": ["shop-job.timer"]}
    lists |= {"flags": [f"{tmp_path}/maintenance"]}
    policy = dict.fromkeys(("daily", "weekly", "monthly", "days"), 7)
    return Facts(**{**values, **given, **lists, **policy, "prunes": True, "uploads": {}})


def live(monkeypatch, server: Server) -> Server:
    monkeypatch.setattr(mongo, "live", lambda facts, patience=0: server)
    return server


def kept_in(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The host's only repository; a dump to it always succeeds."""
    kept = Kept()
    for module in (slicing, steps):
        monkeypatch.setattr(module, "repositories", lambda facts: [kept])
    monkeypatch.setattr(steps, "_dump", lambda facts, targets, tags, failures: (targets, 5))
    return kept


def restored_in(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> restoring.Found:
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

        def ask(self, command):
            return {"databases": []}

        def take_users(self, server):
            pass

        def stop(self):
            pass

    monkeypatch.setattr(mongo, "Scratch", Scratch)
    monkeypatch.setattr(restoring, "take_slices", lambda facts, waits, only="": None)
    monkeypatch.setattr(replacing, "take", lambda facts, seconds: None)
    monkeypatch.setattr(restoring, "Repository", lambda facts, name: kept)
    full = Full("A", (90, 1), (100, 1), (101, 1), "7.0.5", "d", "f", "m")
    found = restoring.Found(kept, Chosen(full, [], (200, 1)), {"bytes": 10, "collections": DATA, "paths": []})
    monkeypatch.setattr(restoring, "find", lambda *_: found)
    found.scratch = Scratch
    return found
