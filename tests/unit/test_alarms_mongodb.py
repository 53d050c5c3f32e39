"""The alarms' checks of MongoDB, on a fake host."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.alarms import checks
from slipway.alarms.host import states
from support.made_up import MadeUp, found


@pytest.fixture
def host() -> MadeUp:
    return MadeUp()


@pytest.fixture
def mongodb(host, tmp_path, monkeypatch):
    """A host with MongoDB, whose oplog a test sets: its first and last time and its used part."""
    (tmp_path / "MONGODB_ADMIN_PASSWORD").write_text("recognisable")
    asked: list[tuple[Any, ...]] = []

    def oplog(*login: Any) -> tuple[float, float, float]:
        asked.append(login)
        if not host.files.get("oplog"):
            raise ConnectionRefusedError
        first, last, used = map(float, host.files["oplog"].split())
        return first, last, used

    monkeypatch.setattr(host, "oplog", oplog, raising=False)
    monkeypatch.setattr(host, "members", lambda *login: {"a": "PRIMARY"}, raising=False)
    return {"mongodb": ["127.0.0.1", 27017, "admin"], "credentials": str(tmp_path)}, asked


def test_a_full_oplog_that_reaches_back_less_than_a_day_rings(host, mongodb):
    given, asked = mongodb
    memory: dict[str, Any] = {}
    host.files["oplog"] = f"{host.time - 3 * 3600} {host.time} 0.99"
    assert found(checks.mongodb, host, memory, **given) == {"oplog": "MongoDB's oplog reaches back only 3.0 hours"}
    assert asked == [("127.0.0.1", 27017, "admin", "recognisable")]
    # It stays what it is until it is asked again, 5 minutes later.
    host.files["oplog"] = f"{host.time - 90000} {host.time} 0.99"
    host.time += 299
    assert "oplog" in found(checks.mongodb, host, memory, **given)
    host.time += 1
    assert found(checks.mongodb, host, memory, **given) == {}
    assert len(asked) == 2


@pytest.mark.parametrize("oplog", ["{} {} 0.5", ""])
def test_a_young_oplog_and_a_mongodb_that_is_away_do_not_ring(host, mongodb, oplog):
    host.files["oplog"] = oplog.format(host.time - 60, host.time)
    assert found(checks.mongodb, host, **mongodb[0]) == {}
    assert found(checks.mongodb, host) == {}


def seen(host, given, monkeypatch, *states: str, minutes: int = 5) -> list[dict[str, str]]:
    """What is told at each look at a member's state, with so many minutes between two of them."""
    memory: dict[str, Any] = {}
    told = []
    host.files["oplog"] = f"{host.time - 60} {host.time} 0.5"
    for state in states:
        monkeypatch.setattr(host, "members", lambda *login, state=state: {"a": "PRIMARY", "b": state})
        told.append(found(checks.mongodb, host, memory, **given))
        host.time += minutes * 60
    return told


def member(name: str, state: str, seconds: int) -> dict[str, Any]:
    return {"name": name, "stateStr": state, "optimeDate": seconds * 1000}


def test_a_secondary_that_is_behind_is_told_from_one_that_is_to_be():
    arbiter = {"name": "arbiter", "stateStr": "ARBITER"}
    members = [member("a", "PRIMARY", 5000), member("b", "SECONDARY", 4940), member("c", "SECONDARY", 4939), arbiter]
    late = "SECONDARY, more than 60 s behind,"
    well = {"a": "PRIMARY", "b": "SECONDARY", "arbiter": "ARBITER"}
    assert states(members, {}) == {**well, "c": late}
    assert states(members, {"c": 3600}) == {**well, "c": "SECONDARY"}
    assert states([member("c", "RECOVERING", 1), *members[:1]], {})["c"] == "RECOVERING"


@pytest.mark.parametrize("state", ["(not reachable/healthy)", "RECOVERING", "SECONDARY, more than 60 s behind,"])
def test_a_member_that_stays_away_rings_and_is_over_when_it_is_back(host, mongodb, monkeypatch, state):
    *before, rings, over = seen(host, mongodb[0], monkeypatch, state, state, state, "SECONDARY")
    assert before == [{}, {}]
    assert rings == {"member b": f"MongoDB's member b has been {state} for 10 minutes"}
    assert over == {}


def test_a_member_that_restarts_or_copies_its_data_does_not_ring(host, mongodb, monkeypatch):
    away = "(not reachable/healthy)"
    restarts = away, "SECONDARY", away, "STARTUP2", away, away, "SECONDARY"
    assert not any(seen(host, mongodb[0], monkeypatch, *restarts))
    assert not any(seen(host, mongodb[0], monkeypatch, *["STARTUP2"] * 20))
    # Nothing is known of the hours between two looks.
    assert not any(seen(host, mongodb[0], monkeypatch, away, away, minutes=120))


@pytest.mark.parametrize(("number", "rings"), [(150, False), (151, True)])
def test_slow_operations_above_the_rate_ring_but_for_those_of_mongodb_and_of_backups(host, mongodb, number, rings):
    slow = '{"id":51803,"attr":{"ns":"shop.orders","appName":"backend"}}\n' * number
    own = '{"attr":{"ns":"local.oplog.rs"}}\n{"attr":{"ns":"shop.orders","appName":"mongodump"}}\n' * 100
    host.commands["journalctl --unit=mongod"] = (0, slow + own)
    expected = {"slow": f"MongoDB logged {number} slow operations in 5 minutes"} if rings else {}
    assert found(checks.mongodb, host, **mongodb[0]) == expected


def test_slow_operations_between_two_looks_count_once_whenever_the_second_comes(host, mongodb):
    given, memory = mongodb[0], dict[str, Any]()
    found(checks.mongodb, host, memory, **given)
    first = host.time
    host.time += 329
    # A journal that has them just after the first look, and counts from the time that it is asked for.
    slow = '{"id":51803,"attr":{"ns":"shop.orders","appName":"backend"}}\n' * 200
    words = f"journalctl --unit=mongod --output=cat --quiet --lines=3000 --since=@{int(first)} "
    host.commands[words] = (0, slow)
    assert found(checks.mongodb, host, memory, **given) == {"slow": "MongoDB logged 200 slow operations in 5 minutes"}
    # After a long absence only the last 5 minutes are looked at.
    host.time += 3600
    assert found(checks.mongodb, host, memory, **given) == {}
