"""MongoDB's certificate: who has it, and when mongod reads it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from slipway.facts.files import Modified
from slipway.facts.units import Unit
from slipway.secrets.authority import create
from slipway.settings.peers import Peer
from slipway.tasks import authority
from support.described import described, run_deploy

HERE = Peer("d1", ("db",), "10.0.0.1", {}, is_here=True)
APP = Peer("a2", ("web", "app"), "10.0.0.2")
BEGAN = 1_700_000_000


@pytest.fixture
def database(settings_with, monkeypatch):
    """What the deploy of a db host with these peers describes: its operations by name, and its settings."""
    secrets = {"MONGODB_BACKEND_PASSWORD": "s3cr3t-backend-0123"} | create(datetime(2026, 1, 1, tzinfo=UTC))
    for name, value in secrets.items():
        monkeypatch.setenv(f"SLIPWAY_SECRET_{name}", value)

    def describe(*peers: Peer):
        settings = settings_with()
        settings._peers = peers
        with described(settings, ("db",), addresses="10.0.0.1") as (server, host):
            host.answers = {Unit: {"Began": str(BEGAN)}}
            run_deploy()
            return {one.arguments["name"]: one for one in server.operations}, settings

    return describe


def test_it_is_mongodbs_own_and_is_there_before_mongod_starts(database):
    operations, _ = database(HERE, APP)
    names = [*operations]
    issued = operations["Issue MongoDB's certificate"].arguments
    assert (issued["path"], issued["owner"]) == (authority.MONGODB, "mongodb")
    assert issued["names"] == ["mongodb-1.internal", "10.0.0.1"]
    assert names.index("Issue MongoDB's certificate") < names.index("Configure MongoDB") < names.index("Start MongoDB")
    assert names.index("Start MongoDB") < names.index("Let MongoDB read its certificate")


def test_a_database_for_its_own_host_has_none(database):
    operations, _ = database(HERE)
    assert not {"Issue MongoDB's certificate", "Let MongoDB read its certificate"} & {*operations}


@pytest.mark.parametrize(
    ("changed", "read", "is_due"),
    [
        (BEGAN - 100, 0, False),
        # After its start, and an apply was interrupted before mongod could read it.
        (BEGAN + 100, 0, True),
        (BEGAN + 100, BEGAN + 50, True),
        (BEGAN + 100, BEGAN + 101, False),
    ],
)
def test_a_running_mongod_reads_what_has_changed_since_it_started(database, monkeypatch, changed, read, is_due):
    times = {authority.MONGODB: changed, "/run/slipway-mongodb-certificate": read}
    operations, settings = database(HERE, APP)
    condition = operations["Let MongoDB read its certificate"].arguments["_if"]
    with described(settings, ("db",)) as (_, host):
        host.answers[Unit] = {"Began": str(BEGAN)}
        answer = host.get_fact
        monkeypatch.setattr(
            type(host),
            "get_fact",
            lambda self, fact, **asked: times[asked["paths"][0]] if fact is Modified else answer(fact, **asked),
        )
        assert condition() is is_due
