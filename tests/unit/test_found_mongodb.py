"""Obstacles of an existing MongoDB: options, data, users, clients."""

from __future__ import annotations

import pytest

from slipway.adoption import mongod
from slipway.ops.templates import render
from slipway.tasks.mongodb import unit_values
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
        ({"replication": {"replSetName": "shop"}}, "replication.replSetName", 'mongodb_replica_set = "shop"'),
        ({"net": {"port": 27018}}, "net.port", "mongodb_port = 27018"),
        ({"net": {"bindIp": "0.0.0.0"}}, "net.bindIp", 'mongodb_bind = "0.0.0.0"'),
        ({"net": {"bindIp": "127.0.0.1,10.0.0.5"}}, "net.bindIp", 'mongodb_bind = "10.0.0.5"'),
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


def test_a_server_that_requires_a_password_is_adopted_with_its_administrators(settings_with, monkeypatch):
    assert told(mongodb(settings_with(), state="closed")) == ["MongoDB's users"]
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "correct horse battery")
    assert told(mongodb(settings_with(), state="closed")) == []


def test_a_server_that_an_apply_has_closed_before_it_was_cut_off_is_adopted_further(settings_with):
    running = {"mongod": "exe=/usr/bin/mongod\nunit=mongod.service\nuser=mongodb\ncommand=/usr/bin/mongod"}
    closed = {"state": "closed", "version": "7.0.1"}
    assert told(mongod.obstacles(running, closed, settings_with())) == ["MongoDB's users"]
    written = {**running, "credentials": "/etc/codementee/credentials/MONGODB_ADMIN_PASSWORD"}
    assert told(mongod.obstacles(written, closed, settings_with())) == []


def test_mongod_may_write_its_socket_where_it_was(settings_with):
    settings = settings_with(mongodb_settings={"net.unixDomainSocket.pathPrefix": "/srv/run"})
    unit = render("mongodb/mongod.service.conf", **unit_values(settings, 2048))
    assert "ReadWritePaths=/var/lib/mongodb -/var/log/mongodb -/srv/run\n" in unit
