"""The state and initiation of a replica set, with a fake server."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from slipway.facts import mongodb_set
from slipway.facts.mongodb_protocol import PRIVILEGED_PORTS, Connection, state_of
from slipway.facts.mongodb_set import begin, look
from slipway.tasks import mongodb_set as task
from slipway.tasks.mongodb_set import set_problems
from support.described import FakeHost, deploy

PRIMARY = {"setName": "rs0", "isWritablePrimary": True}
NEW = {"isreplicaset": True, "isWritablePrimary": False}
FIRST = ("127.0.0.1", "27017", "1", "rs0", "mongodb-1.internal:27017")


class Server:
    """A fake MongoDB whose administrator may initiate the set."""

    def __init__(self, hello, may=True, refuses="", oplog_mb=990, members=()):
        self.config = {"_id": "rs0", "version": 3, "term": 2, "members": [{"_id": 0, "host": one} for one in members]}
        self.hello, self.may, self.refuses, self.oplog_mb = hello, may, refuses, oplog_mb
        self.is_in, self.asked = False, []

    def __call__(self, address, port, seconds, from_root=False):
        self.is_from_root = from_root
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
        if name == "replSetGetConfig":
            return {"ok": 1, "config": self.config}
        if name == "replSetReconfig":
            assert command["force"]
            self.config, self.hello = command["replSetReconfig"], PRIMARY
        if name == "replSetInitiate":
            if self.config["members"]:
                return {"ok": 0, "code": 23, "errmsg": "already initialized"}
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
    assert server.is_from_root, "other clients may have to wait"
    assert begin(*FIRST, "0", "admin", password) == ""
    # Once refused, as nobody had logged in, and once more.
    assert server.asked.count("replSetInitiate") == 2


def test_the_only_member_of_a_set_gets_another_port_and_one_of_several_does_not(monkeypatch, password):
    server = Server(NEW, members=["mongodb-1.internal:27018"])
    monkeypatch.setattr(mongodb_set, "Connection", server)
    assert begin(*FIRST, "0", "admin", password) == ""
    assert server.config == {"_id": "rs0", "version": 4, "members": [{"_id": 0, "host": FIRST[-1]}]}
    several = Server(NEW, members=["a:27017", "b:27017", "c:27017"])
    monkeypatch.setattr(mongodb_set, "Connection", several)
    assert "it is there, with a:27017, b:27017, c:27017" in begin(*FIRST, "0", "admin", password)
    assert "replSetReconfig" not in several.asked
    # Its configuration is not read yet.
    starting = Server(NEW, members=[FIRST[-1]])
    monkeypatch.setattr(mongodb_set, "Connection", starting)
    assert "no primary member after 1 s" in begin(*FIRST, "0", "admin", password)
    assert "replSetReconfig" not in starting.asked


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


def test_clients_are_refused_from_a_restart_until_the_set_accepts_writes(settings_with):
    (restart,) = [one for one in deploy(settings_with()).all("restart") if one.name == "Restart MongoDB"]
    ready = restart.arguments["ready"]
    refuses = "INPUT -p tcp --syn --dport 27017 ! --sport 1:1023 -j REJECT"
    assert f"-I {refuses}" in ready.before
    assert f"-D {refuses}" in ready.after
    # A server without a set answers as soon as it listens.
    (restart,) = [
        one for one in deploy(settings_with(mongodb_replica_set="")).all("restart") if one.name == "Restart MongoDB"
    ]
    assert restart.arguments["ready"] is None


@pytest.mark.skipif(os.geteuid() != 0, reason="the ports below 1024 are root's")
def test_roots_connection_comes_from_a_port_that_the_rule_spares():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connections = [Connection("127.0.0.1", port, 5, from_root=True) for _ in range(2)]
        assert all(server.accept()[1][1] <= PRIVILEGED_PORTS for _ in connections)


def ensured(operation, folder, **names: str) -> None:
    """Do what an operation of `ensure` does, with files of a folder, and find out that it is done then."""
    check, command = (operation.arguments[part] for part in ("check", "command"))
    for name, place in names.items():
        check, command = check.replace(name, place), command.replace(name, place)
    env = {"PATH": f"{folder}/bin:/usr/bin:/bin"}
    for script, codes in ((check, (0, 1)), (command, (0,)), (check, (0,))):
        words = ["sh", "-c", f"umask 022; {script}"]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert done.returncode in codes, done.stderr


def program(folder, name: str, text: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bin" / name).chmod(0o755)


def named(server, name: str):
    (found,) = [one for one in server.operations if one.name == name]
    return found


def test_the_key_is_for_mongodb_alone_to_read_and_stays_what_it_is(settings_with, tmp_path, monkeypatch):
    file = tmp_path / "keyfile"
    monkeypatch.setattr(task, "KEYFILE", str(file))
    # There is no such user here.
    program(tmp_path, "chown", "true")
    program(tmp_path, "stat", f'echo "mongodb:mongodb:$(/usr/bin/stat -c %a {file})"')
    key = named(deploy(settings_with()), "Create the replica set's key")
    ensured(key, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o400
    # MongoDB takes 6 to 1024 characters of base64. https://www.mongodb.com/docs/manual/core/security-internal-authentication/
    assert len(text := file.read_text()) == 684
    file.chmod(0o440)
    ensured(key, tmp_path)
    assert (file.stat().st_mode & 0o777, file.read_text()) == (0o400, text)


def test_the_members_name_leads_to_where_mongod_listens_and_to_nothing_else(settings_with, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.0.0.5 mongodb-1.internal\n192.0.2.1 also-mongodb-1.internal\n")
    program(tmp_path, "getent", f"sed -n 's/^\\([^ ]*\\) '$2'$/\\1 STREAM/p' {hosts} | head -n 1")
    member = named(deploy(settings_with()), "Name the replica set's member")
    ensured(member, tmp_path, **{"/etc/hosts": str(hosts)})
    assert hosts.read_text().splitlines() == [
        *("127.0.0.1 localhost", "192.0.2.1 also-mongodb-1.internal", "127.0.0.1 mongodb-1.internal")
    ]


def test_mongodb_is_back_from_a_restart_when_its_set_takes_writes(settings_with):
    (restart,) = [one for one in deploy(settings_with()).all("restart") if one.subject == "mongod.service"]
    assert " begin 127.0.0.1 27017 " in restart.arguments["ready"].check
    (alone,) = [
        one for one in deploy(settings_with(mongodb_replica_set="")).all("restart") if one.subject == "mongod.service"
    ]
    assert alone.arguments["ready"] is None
