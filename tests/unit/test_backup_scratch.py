"""What a backup is rebuilt from and in: the oplog of its slices, and a private mongod. Without a MongoDB."""

from __future__ import annotations

import io
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.backups import mongo, restoring
from slipway.backups.chain import Chosen, Full, Slice
from slipway.backups.host import Facts, Failed
from slipway.facts.mongodb_protocol import encode
from support.backed_up import written


def test_it_keeps_expired_documents_and_has_the_users_of_the_host_alone(monkeypatch, tmp_path):
    facts = Facts(**dict.fromkeys(Facts._fields, ""))
    started = []

    class Stopped(Exception):
        pass

    def start(words, **more):
        started.extend(words)
        raise Stopped

    monkeypatch.setattr(mongo, "subprocess", SimpleNamespace(Popen=start))
    scratch = mongo.Scratch(facts._replace(mongod=["mongod"]), str(tmp_path), str(tmp_path))
    with pytest.raises(Stopped):
        scratch.start_again()
    assert started[-2:] == ["--setParameter", "ttlMonitorEnabled=false"]
    asked = []
    scratch.ask = asked.append
    present = encode({"_id": "admin.shop", "user": "shop"})
    scratch.take_users(SimpleNamespace(find=lambda database, name: [present] if name == "system.users" else []))
    assert [next(iter(one)) for one in asked] == ["delete", "delete", "update"]
    assert asked[0]["deletes"] == [{"q": {}, "limit": 0}]


def found_of(*entries: bytes) -> restoring.Found:
    """A backup with a slice of these entries."""
    repository = SimpleNamespace(streaming=lambda snapshot, name: nullcontext(io.BytesIO(b"".join(entries))))
    full = Full("A", (90, 1), (100, 1), (101, 1), "7.0.5", "d", "f", "m")
    return restoring.Found(repository, Chosen(full, [Slice("s", (90, 1), (200, 1))], (200, 1)), {})


def test_indexes_are_made_before_their_collection_is_renamed(tmp_path):
    """mongorestore makes them at its end, by the name that the collection had."""
    renamed = {"renameCollection": "shop.a", "to": "shop.b"}
    entries = [
        *(written(90, "c", "shop.$cmd", **renamed), written(100, "c", "shop.$cmd", **renamed)),
        *(written(101), written(102, "c", "shop.$cmd", commitIndexBuild="a")),
        *(written(103, "c", "shop.$cmd", **renamed), written(104, "c", "shop.$cmd", **renamed), written(105)),
    ]
    parts = restoring._parts(found_of(*entries), str(tmp_path), [(104, 1), (150, 1), (200, 1)])
    # The first one is in the full backup.
    first, then, last = (b"".join(entries[begin:end]) for begin, end in ((1, 4), (4, 6), (6, 7)))
    assert [[Path(file).read_bytes() for file in part] for part in parts] == [[first, then], [last], []]


def test_the_oplog_leaves_the_disk_room(monkeypatch, tmp_path):
    found = found_of(*map(written, range(100, 110)))
    assert len(restoring._parts(found, str(tmp_path), [(200, 1)])) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5))
    with pytest.raises(Failed, match="0 MiB free, need 300 MiB"):
        restoring._parts(found, str(tmp_path), [(200, 1)])


@pytest.mark.parametrize(
    ("reads", "restores", "reason"),
    [
        ("yes", "echo no room >&2; exit 1", "mongorestore ended with 1: no room"),
        ("echo half; exit 1", "cat > /dev/null; echo unexpected end >&2; exit 1", "failed before its end"),
        ("echo half; exit 1", "cat > /dev/null", "failed before its end"),
    ],
)
def test_who_failed_first_tells_why(monkeypatch, tmp_path, reads, restores, reason):
    (tmp_path / "mongorestore").write_text(f"#!/bin/sh\n{restores}\n")
    (tmp_path / "mongorestore").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    source = subprocess.Popen(["sh", "-c", f"exec {reads}" if reads == "yes" else reads], stdout=subprocess.PIPE)
    with pytest.raises(Failed, match=reason):
        mongo.Scratch.load(SimpleNamespace(uri="mongodb://nowhere"), source)
