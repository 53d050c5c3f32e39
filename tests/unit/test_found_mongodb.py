"""Obstacles of an existing MongoDB: options, data, users, clients."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from pyinfra.api.util import get_kwargs_str

from slipway.adoption import mongod
from slipway.engine.uploads import Encoded
from slipway.facts import mongodb_data
from slipway.facts.earlier import Earlier
from slipway.facts.mongodb import MongodbData
from slipway.ops.templates import render
from slipway.tasks.adoption_facts import mongodb_content
from slipway.tasks.mongodb import unit_values
from support.described import described
from support.obstacles import SERVICE, told

STARTED = "command=/usr/bin/mongod --config /etc/mongod.conf"
RUNNING = {"mongod": f"exe=/usr/bin/mongod\nunit=mongod.service\nuser=mongodb\n{STARTED}"}
PLAIN = {"storage": {"dbPath": "/var/lib/mongodb"}, "net": {"port": 27017, "bindIp": "127.0.0.1"}}


def mongodb(settings, options=None, earlier=RUNNING, **data):
    answer = {"state": "open", "options": options or PLAIN, "version": "7.0.5", **data}
    return [*mongod.obstacles(earlier, answer, settings)]


@pytest.mark.parametrize(
    ("options", "name", "need"),
    [
        ({"storage": {"dbPath": "/data"}}, "storage.dbPath", 'mongodb_data = "/data"'),
        ({"storage": {"dbPath": "/data/db/"}}, "storage.dbPath", 'mongodb_data = "/data/db"'),
        ({"storage": {"dbPath": "/home/me/my data"}}, "storage.dbPath", "mv '/home/me/my data' /srv/mongodb; dbPath: "),
        ({"replication": {"replSetName": "shop"}}, "replication.replSetName", 'mongodb_replica_set = "shop"'),
        ({"net": {"port": 27018}}, "net.port", "mongodb_port = 27018"),
        ({"net": {"bindIp": "0.0.0.0"}}, "net.bindIp", 'mongodb_bind = "0.0.0.0"'),
        ({"net": {"bindIp": "127.0.0.1,10.0.0.5"}}, "net.bindIp", 'mongodb_bind = "10.0.0.5"'),
        ({"net": {"bindIp": "localhost,db.internal"}}, "net.bindIp", "the IPv4 address by which its clients reach it"),
        ({"net": {"bindIp": "::1,2001:db8::5"}}, "net.bindIp", "reach it instead of 2001:db8::5"),
        ({"net": {"bindIpAll": True}}, "net.bindIp", 'mongodb_bind = "0.0.0.0"'),
        ({"net": {"tls": {"mode": "requireTLS"}}}, "net.tls.mode", "none: "),
        (
            {"security": {"javascriptEnabled": False}},
            "security.javascriptEnabled",
            "{'security.javascriptEnabled': False}",
        ),
        ({"storage": {"directoryPerDB": True}}, "storage.directoryPerDB", "{'storage.directoryPerDB': True}"),
        ({"storage": {"engine": "inMemory"}}, "storage.engine", "mongodb_settings"),
        (
            {"storage": {"wiredTiger": {"engineConfig": {"cacheSizeGB": 4}}}},
            "storage.wiredTiger.engineConfig.cacheSizeGB",
            "mongodb_cache_gb = 4.0",
        ),
        ({"setParameter": {"cursorTimeoutMillis": 1}}, "setParameter.cursorTimeoutMillis", "mongodb_settings = "),
    ],
)
def test_an_option_of_mongod_that_slipway_would_not_set_is_named_with_the_setting(settings_with, options, name, need):
    (one,) = mongodb(settings_with(), options)
    assert one.name == f"/etc/mongod.conf: {name}"
    assert need in one.need


def test_a_data_folder_that_is_a_link_may_be_named_by_either_path(settings_with):
    linked = {"mongod": f"{RUNNING['mongod']}\ndata=/data/db"}
    assert mongodb(settings_with(mongodb_data="/data/db"), earlier=linked) == []
    assert told(mongodb(settings_with(mongodb_data="/data/db"))) == ["/etc/mongod.conf: storage.dbPath"]


def test_a_key_of_a_replica_set_is_told_where_there_is_to_be_none(settings_with):
    options = {"security": {"keyFile": "/k"}}
    (one,) = mongodb(settings_with(mongodb_replica_set=""), options)
    assert (one.name, "set mongodb_replica_set" in one.need) == ("/etc/mongod.conf: security.keyFile", True)
    assert mongodb(settings_with(), options) == []


def test_options_that_are_set_or_that_slipway_has_another_way_for_are_no_obstacle(settings_with):
    usual = {
        **PLAIN,
        "config": "/etc/mongod.conf",
        "systemLog": {"destination": "file", "path": "/var/log/mongodb/mongod.log", "logAppend": True},
        "processManagement": {"timeZoneInfo": "/usr/share/zoneinfo", "fork": True},
        "storage": {"dbPath": "/var/lib/mongodb", "journal": {"enabled": True}},
        "net": {"port": 27017, "bindIp": "localhost", "tls": {"mode": "disabled"}},
    }
    assert mongodb(settings_with(), usual) == []
    others = {"storage": {"dbPath": "/data", "directoryPerDB": True}, "replication": {"replSetName": "rs0"}}
    changed = {"mongodb_data": "/data", "mongodb_replica_set": "rs0"}
    assert mongodb(settings_with(**changed, mongodb_settings={"storage.directoryPerDB": True}), others) == []


def test_several_options_are_reported_with_the_whole_setting(settings_with):
    options = {"storage": {"directoryPerDB": True}, "operationProfiling": {"mode": "slowOp"}}
    found = mongodb(settings_with(), options)
    whole = "mongodb_settings = {'storage.directoryPerDB': True, 'operationProfiling.mode': 'slowOp'}"
    assert [one.need for one in found] == [whole, whole]


def test_options_of_a_server_that_does_not_answer_are_read_from_its_file(settings_with):
    earlier = {"mongod": "", "file /etc/mongod.conf": "storage:\n  dbPath: /data\n"}
    assert told(mongod.obstacles(earlier, {}, settings_with())) == ["/etc/mongod.conf: storage.dbPath"]
    old = {"file /etc/mongod.conf": "dbpath = /data\n"}
    assert told(mongod.obstacles(old, {}, settings_with())) == ["/etc/mongod.conf"]
    assert told(mongod.obstacles({}, {}, settings_with())) == []


@pytest.mark.parametrize(
    ("running", "name"),
    [
        ({"exe": "/opt/mongodb/bin/mongod"}, "mongod"),
        ({"unit": "mongodb.service"}, "mongod"),
        ({"unit": ""}, "mongod"),
        ({"command": "/usr/bin/mongod --dbpath /data --quiet"}, "mongod.service: --dbpath"),
        ({"command": "/usr/bin/mongod --config /etc/mongodb/mongod.conf"}, "mongod.service: --config"),
        ({"command": "/usr/bin/mongod --config=/srv/mongod.conf"}, "mongod.service: --config"),
        ({"command": "/usr/bin/mongod -f /etc/mongod.conf --fork"}, "mongod.service: --fork"),
        ({"command": "/usr/bin/mongod -f /etc/mongod.conf --logpath /srv/log/mongod.log"}, "mongod.service: --logpath"),
    ],
)
def test_a_mongod_that_the_packages_unit_would_not_run_so_is_named(settings_with, running, name):
    process = {
        "exe": "/usr/bin/mongod",
        "unit": "mongod.service",
        "command": "/usr/bin/mongod -f /etc/mongod.conf",
    } | running
    earlier = {"mongod": "\n".join(f"{key}={value}" for key, value in process.items())}
    assert told(mongodb(settings_with(), earlier=earlier)) == [name]


def test_a_log_in_the_folder_of_the_package_is_no_obstacle_nor_a_fork_by_the_configuration(settings_with):
    command = "command=/usr/bin/mongod --config /etc/mongod.conf --logpath=/var/log/mongodb/mongod.log --logappend"
    earlier = {"mongod": f"exe=/usr/bin/mongod\nunit=mongod.service\nuser=mongodb\n{command}"}
    assert mongodb(settings_with(), {**PLAIN, "processManagement": {"fork": True}}, earlier=earlier) == []


@pytest.mark.parametrize(
    ("sockets", "text", "where"),
    [
        (["127.0.0.1:27017", "10.0.0.5:27017"], "", ("127.0.0.1", 27017)),
        (["*:27017"], "", ("127.0.0.1", 27017)),
        (["10.0.0.5:27017"], "net:\n  bindIp: 10.0.0.5\n", ("10.0.0.5", 27017)),
        (["[::1]:27017"], "", ("::1", 27017)),
        (["10.0.0.5:27018", "10.0.0.5:27019"], "net:\n  port: 27019\n", ("10.0.0.5", 27019)),
        (["127.0.0.1:27018"], "", ("127.0.0.1", 27018)),
        # Without ss(8).
        ([], "net:\n  bindIp: 10.0.0.5,10.0.0.6\n  port: 27018\n", ("10.0.0.5", 27018)),
        ([], "net:\n  bindIpAll: true\n", ("127.0.0.1", 27017)),
        # Slipway's own file.
        ([], None, ("10.0.0.9", 27020)),
    ],
)
def test_a_running_mongod_is_asked_where_it_answers(settings_with, sockets, text, where):
    earlier = {**RUNNING, "listeners": "10.0.0.7:27017 mongod other.service"}
    earlier["listeners"] += "".join(f"\n{one} mongod mongod.service" for one in sockets)
    if text is not None:
        earlier["file /etc/mongod.conf"] = text
    settings = settings_with(mongodb_bind="10.0.0.9", mongodb_port=27020)
    assert mongod.place(earlier, settings) == where


def test_a_program_is_found_without_pgrep(tmp_path):
    (tmp_path / "slipway-found").symlink_to(shutil.which("sleep"))
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    # Who is not root on the host itself can't read the namespaces of its first process.
    functions = command[: command.index("sockets()")].replace("/proc/1/", "/proc/self/")
    with subprocess.Popen([tmp_path / "slipway-found", "60"]) as program:
        try:
            script = f"{functions}\npgrep() {{ :; }}; systemctl() {{ echo 0; }}; process slipway-found"
            shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout
        finally:
            program.kill()
    assert f"exe={Path(shutil.which('sleep')).resolve()}\n" in shown


def test_a_mongod_that_runs_and_does_not_answer_is_named(settings_with):
    (one,) = mongodb(settings_with(), state="away")
    assert str(one).startswith(
        "mongod: found it running, and no answer at 127.0.0.1, port 27017, need one that answers"
    )
    assert not one.may_go


def test_data_of_another_series_are_not_touched(settings_with):
    (one,) = mongodb(settings_with(), version="6.0.9")
    assert one.need.startswith('mongodb_version = "6.0"')
    assert not one.may_go


def test_documents_in_another_database_than_the_sites_are_named(settings_with):
    (one,) = mongodb(settings_with(), documents={"test_database": 3, "empty": 0})
    assert str(one).startswith(
        "database test_database: found 3 documents in it and none in codementee, need mongodb_database"
    )
    assert mongodb(settings_with(), documents={"codementee": 1, "blog": 5}) == []
    assert mongodb(settings_with(), documents={}) == []


def test_members_users_and_clients_that_slipway_does_not_know_are_named(settings_with):
    assert told(mongodb(settings_with(), members=["a:27017", "b:27017"], set="rs0")) == ["replica set rs0"]
    assert told(mongodb(settings_with(), users=["admin", "backend"])) == [
        "MongoDB's user admin",
        "MongoDB's user backend",
    ]
    written = {**RUNNING, "credentials": "/etc/codementee/credentials/MONGODB_ADMIN_PASSWORD"}
    assert told(mongodb(settings_with(), earlier=written, users=["admin"])) == []
    clients = {**RUNNING, "connected": f"uvicorn {SERVICE}\nmongod mongod.service\nnode blog.service\nphp "}
    assert told(mongodb(settings_with(), earlier=clients)) == ["blog.service", "php"]


def test_clients_of_mongodb_on_other_hosts_are_named(settings_with):
    address = {"listeners": "10.0.0.5:27017 mongod mongod.service", "file /etc/mongod.conf": ""}

    def reached(is_open=None, peers="", **more):
        return told(mongod.reached({**address, "peers": peers, **more}, is_open, settings_with()))

    assert reached() == ["port 27017"]
    assert reached({27017}) == ["port 27017"]
    assert reached({22}) == []
    assert reached({22}, "10.0.0.7\n172.17.0.2") == ["MongoDB's client 10.0.0.7", "MongoDB's client 172.17.0.2"]
    assert reached(listeners="127.0.0.1:27017 mongod mongod.service") == []
    kept = "-A ufw-before-input -s 10.0.0.7 -p tcp --dport 27017 -j ACCEPT"
    assert reached(peers="10.0.0.7", before=kept) == []
    assert [*mongod.reached(address, None, settings_with(firewall_allow=["27017/tcp"]))] == []
    # An interrupted apply's.
    assert [*mongod.reached({"listeners": address["listeners"], "peers": "10.0.0.7"}, None, settings_with())] == []


def test_the_addresses_of_mongodbs_clients_are_found_without_the_hosts_own(tmp_path):
    connected = "\n".join(
        f"0 0 {local} {peer}"
        for local, peer in [
            ("10.0.0.5:27017", "10.0.0.7:50000"),
            ("10.0.0.5:27017", "10.0.0.7:50001"),
            ("10.0.0.5:27017", "10.0.0.5:50002"),
            ("127.0.0.1:27017", "127.0.0.1:50003"),
            ("[::ffff:172.17.0.1]:27017", "[::ffff:172.17.0.2]:50004"),
            ("[fd00::5]:27017", "[fd00::7]:50005"),
        ]
    )
    addresses = "1: lo inet 127.0.0.1/8 scope host\n2: eth0 inet 10.0.0.5/24 brd\n2: eth0 inet6 fd00::5/64 scope"
    for name, text in (("ss", connected), ("ip", addresses)):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (tmp_path / name).chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    section = command[command.index("peers() {") : command.index("s listeners;")] + "peers 27017"
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", section], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10.0.0.7", "172.17.0.2", "fd00::7"]


CLOSED = {**RUNNING, "file /etc/mongod.conf": "security:\n  authorization: enabled\n"}


@pytest.fixture
def with_password(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "correct horse battery")
    return settings_with()


def closed(settings, login="accepted", **data):
    return told(mongodb(settings, earlier=CLOSED, state="closed", login=login, **data))


def test_a_server_that_requires_a_password_is_adopted_with_its_administrators(settings_with, monkeypatch):
    assert closed(settings_with(), login="") == ["MongoDB's users"]
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "correct horse battery")
    assert closed(settings_with(), users=["admin"], members=["a:27017"]) == []


def test_an_apply_that_was_interrupted_before_mongodb_had_users_goes_on(settings_with):
    begun = {"state": "closed", "login": "", "has_users": False}
    assert told(mongodb(settings_with(), earlier=RUNNING, **begun)) == []
    assert told(mongodb(settings_with(), earlier=RUNNING, **begun | {"has_users": True})) == ["MongoDB's users"]
    # Their own configuration: nothing tells what is in it.
    assert told(mongodb(settings_with(), earlier=CLOSED, **begun)) == ["MongoDB's users"]


def test_a_password_that_mongodb_rejects_is_named_without_it(with_password):
    (one,) = mongodb(with_password, earlier=CLOSED, state="closed", login="refused")
    assert str(one).startswith(
        "MongoDB's users: found 'refused' for the login of admin by MONGODB_ADMIN_PASSWORD, need"
    )
    assert "correct horse" not in str(one)


def test_what_is_behind_a_password_is_named_as_without_one(with_password, settings_with):
    assert closed(with_password, documents={"shop_prod": 2}) == ["database shop_prod"]
    assert closed(with_password, users=["admin", "backend"]) == ["MongoDB's user backend"]
    assert closed(with_password, users=["backend@codementee", "backend@blog"]) == ["MongoDB's user backend"]
    # hello tells its members without a login.
    assert closed(with_password, login="", members=["a:1", "b:1"], set="rs0") == ["replica set rs0", "MongoDB's users"]


class Server:
    """A fake MongoDB with access control, and a member that only its configuration names."""

    def __init__(self, *where):
        self.is_in = False

    def logs_in(self, user, password):
        self.is_in = (user, password) == ("admin", "right")
        return self.is_in

    def run(self, command, database="admin"):
        name = next(iter(command))
        if name == "hello":
            return {"ok": 1, "setName": "rs0", "hosts": ["a:1"], "passives": ["b:1"]}
        if not self.is_in:
            return {"ok": 0, "code": 13, "errmsg": "requires authentication"}
        databases = [{"name": "admin"}, {"name": "shop"}, {"name": "local"}]
        users = [{"user": "admin", "db": "admin"}, {"user": "backend", "db": "shop"}]
        config = {"members": [{"host": "a:1"}, {"host": "b:1"}, {"host": "hidden:1"}]}
        answers = {"parsed": {}, "version": "7.0.1", "databases": databases, "objects": 2, "users": users}
        return {"ok": 1, "config": config, **answers}


@pytest.mark.parametrize(("given", "written"), [("right", ""), ("", "right"), ("new", "right")])
def test_the_data_behind_a_password_are_looked_at_by_the_one_that_mongodb_accepts(
    monkeypatch, tmp_path, given, written
):
    file = tmp_path / "password"
    file.write_text(written)
    file.chmod(0o600)
    monkeypatch.setattr(mongodb_data, "Connection", Server)
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(Encoded(given.encode()))))
    found = mongodb_data.look(("127.0.0.1", 1, 1), "admin", str(file))
    assert (found["state"], found["login"], found["documents"]) == ("closed", "accepted", {"shop": 2})
    assert found["members"] == ["a:1", "b:1", "hidden:1"]
    assert found["users"] == ["admin", "backend@shop"]


@pytest.mark.parametrize(("given", "login"), [("wrong", "refused"), ("", "")])
def test_of_data_behind_a_password_only_the_members_are_known_without_it(monkeypatch, given, login):
    monkeypatch.setattr(mongodb_data, "Connection", Server)
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(Encoded(given.encode()))))
    found = mongodb_data.look(("127.0.0.1", 1, 1), "admin", "/nowhere")
    wanted = {"state": "closed", "set": "rs0", "members": ["a:1", "b:1"], "login": login, "has_users": True}
    assert found == wanted


def test_the_password_is_on_standard_input_and_in_no_text_about_the_question(with_password):
    with described(with_password) as (_, host):
        asked = []

        def get_fact(fact, **arguments):
            asked.append(arguments)
            return {"state": "closed"}

        host.get_fact = get_fact
        mongodb_content(with_password, CLOSED)
    first, second = asked
    assert "_stdin" not in first
    assert "".join(second["_stdin"]).strip() == base64.b64encode(b"correct horse battery").decode()
    assert second["user"] == "admin"
    about = get_kwargs_str(second) + MongodbData().command(**{k: v for k, v in second.items() if k != "_stdin"})
    assert "correct horse" not in about
    assert base64.b64encode(b"correct horse").decode()[:12] not in about


def test_a_server_that_an_apply_has_closed_before_it_was_cut_off_is_adopted_further(settings_with):
    running = {"mongod": "exe=/usr/bin/mongod\nunit=mongod.service\nuser=mongodb\ncommand=/usr/bin/mongod"}
    closed = {"state": "closed", "version": "7.0.1", "members": ["mongodb.internal:1", "mongodb-2.internal:1"]}
    assert told(mongod.obstacles(running, closed, settings_with())) == ["MongoDB's users"]
    written = {**running, "credentials": "/etc/codementee/credentials/MONGODB_ADMIN_PASSWORD"}
    assert told(mongod.obstacles(written, closed, settings_with())) == []


def test_a_pid_file_of_the_owners_unit_is_not_waited_for(settings_with):
    assert "\nPIDFile=\n" in render("mongodb/mongod.service.conf", **unit_values(settings_with(), 2048))


def test_mongod_may_write_its_socket_where_it_was(settings_with):
    settings = settings_with(mongodb_settings={"net.unixDomainSocket.pathPrefix": "/srv/run"})
    unit = render("mongodb/mongod.service.conf", **unit_values(settings, 2048))
    assert "ReadWritePaths=/var/lib/mongodb -/var/log/mongodb -/srv/run\n" in unit
