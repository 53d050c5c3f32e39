"""The state and initiation of a replica set, with a fake server."""

from __future__ import annotations

import pytest

from slipway.facts import mongodb_set
from slipway.facts.mongodb_set import begin, look, state_of
from slipway.tasks.mongodb_set import set_problems
from support.described import FakeHost

PRIMARY = {"setName": "rs0", "isWritablePrimary": True}
NEW = {"isreplicaset": True, "isWritablePrimary": False}
FIRST = ("127.0.0.1", "27017", "1", "rs0", "mongodb-1.internal:27017")


class Server:
    """A fake MongoDB whose administrator may initiate the set."""

    def __init__(self, hello, may=True, refuses="", oplog_mb=990):
        self.hello, self.may, self.refuses, self.oplog_mb = hello, may, refuses, oplog_mb
        self.is_in, self.asked = False, []

    def __call__(self, address, port, seconds):
        return self

    def logs_in(self, user, password):
        self.is_in = self.may and (user, password) == ("admin", "right")
        return self.is_in

    def run(self, command, database="admin"):
        name = next(iter(command))
        self.asked.append(name)
        if name == "hello":
            return self.hello
        if not self.is_in:
            return {"ok": 0, "code": 13, "errmsg": "requires authentication"}
        if name == "replSetInitiate":
            if self.refuses:
                return {"ok": 0, "code": 93, "errmsg": self.refuses}
            self.hello = PRIMARY
        if name == "replSetResizeOplog":
            self.oplog_mb = command["size"]
        return {"ok": 1, "maxSize": self.oplog_mb * 2**20}


@pytest.fixture
def password(tmp_path):
    (tmp_path / "password").write_text("right")
    return str(tmp_path / "password")


@pytest.mark.parametrize(
    ("hello", "state"),
    [
        ({"isWritablePrimary": True}, "alone"),
        (NEW, "new"),
        ({"setName": "rs0", "isWritablePrimary": False}, "waiting"),
        (PRIMARY, "primary"),
    ],
)
def test_a_server_is_what_its_answer_says(hello, state):
    assert state_of(hello) == state


def test_a_set_begins_by_its_administrator_and_not_twice(monkeypatch, password):
    server = Server(NEW)
    monkeypatch.setattr(mongodb_set, "Connection", server)
    assert begin(*FIRST, "0", "admin", password) == ""
    assert server.hello == PRIMARY
    assert begin(*FIRST, "0", "admin", password) == ""
    # Once refused, as nobody had logged in, and once more.
    assert server.asked.count("replSetInitiate") == 2


def test_a_set_that_cannot_begin_says_why(monkeypatch, password):
    monkeypatch.setattr(mongodb_set, "Connection", Server(NEW, refuses="No host described maps to this node"))
    assert "can't be initiated with mongodb-1.internal:27017: No host" in begin(*FIRST, "0", "admin", password)
    monkeypatch.setattr(mongodb_set, "Connection", Server({"isWritablePrimary": True}))
    assert begin(*FIRST, "0", "admin", password) == "MongoDB runs as a standalone, without replication.replSetName"
    monkeypatch.setattr(mongodb_set, "Connection", Server({"setName": "rs0"}))
    assert "no primary member after 1 s" in begin(*FIRST, "0", "admin", password)


def test_the_oplog_gets_the_size_that_is_set(monkeypatch, password, capsys):
    server = Server(PRIMARY)
    monkeypatch.setattr(mongodb_set, "Connection", server)
    assert begin(*FIRST, "0", "admin", password) == ""
    assert server.oplog_mb == 990
    assert begin(*FIRST, "2048", "admin", password) == ""
    look("127.0.0.1", "27017", "1", "admin", password)
    assert capsys.readouterr().out == "state=primary\noplog=2048\n"


def test_without_room_for_an_oplog_a_standalone_stays_one_and_says_so(settings_with, monkeypatch):
    host = FakeHost(("db",))
    monkeypatch.setattr("slipway.tasks.mongodb_set.host", host)
    host.answers = {"mongod.keyfile": "new"}
    (line,) = set_problems(settings_with(), 500)
    assert "found 500 MiB free" in line
    assert "need 990 MiB" in line
    assert set_problems(settings_with(), 2000) == []
    assert set_problems(settings_with(mongodb_replica_set=""), 500) == []
    host.answers = {"mongod.keyfile": ""}
    assert set_problems(settings_with(), 500) == []
