"""The private mongod that a backup is rebuilt in, without a MongoDB."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from slipway.backups import mongo
from slipway.backups.host import Facts
from slipway.facts.mongodb_protocol import encode


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
