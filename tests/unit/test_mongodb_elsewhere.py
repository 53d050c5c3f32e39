"""MongoDB's data on a server that is not in db."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from slipway.facts.base import Output
from slipway.facts.mongodb import MongodbMember
from slipway.settings.peers import Peer
from slipway.tasks import mongodb_elsewhere
from slipway.tasks.mongodb_elsewhere import data_of
from support.described import FakeHost

FRESH, EMPTY, FULL = {"state": "away"}, {"state": "new", "collections": "0"}, {"state": "primary", "collections": "7"}
FOLDER = "/var/lib/mongodb"


@pytest.fixture
def found(settings_with, monkeypatch):
    """What the first of the db hosts says, by what each server of the run tells: look and folders."""

    def problems(db: int, answers: dict[str, tuple[dict[str, str], str]], **changes: object) -> list[str]:
        hosts = {name: FakeHost(("db",)) for name in answers}
        for name, host in hosts.items():
            host.name = name
        settings = settings_with(**changes)
        names = [f"d{n}" for n in range(1, db + 1)]
        settings._peers = (
            *(Peer(name, ("db",), "10.0.0.9", {}, name == "d1") for name in names),
            Peer("a1", ("web", "app"), "10.0.0.1"),
            Peer("lb", ("lb",), "10.0.0.2"),
        )
        monkeypatch.setattr(mongodb_elsewhere, "host", hosts["d1"])
        monkeypatch.setattr("slipway.engine.across.of_run", lambda _, names: [hosts[n] for n in names if n in hosts])

        def facts(_: object, names: list[str], question: Callable) -> dict[str, object]:
            asked = {name: question(hosts[name])[0] for name in names if name in hosts}
            return {name: answers[name][0 if fact is MongodbMember else 1] for name, fact in asked.items()}

        monkeypatch.setattr("slipway.engine.across.facts", facts)
        return mongodb_elsewhere.problems(settings)

    return problems


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("new", [(FRESH, ""), (EMPTY, FOLDER)], ids=["fresh", "applied alone"])
def test_a_site_whose_data_are_elsewhere_gets_no_empty_database(found, count, new):
    answers = {**{f"d{n}": new for n in range(1, count + 1)}, "lb": (FRESH, "")}
    for old, data in (((FULL, FOLDER), "7 collections"), ((FRESH, FOLDER), FOLDER), (({}, FOLDER), FOLDER)):
        (problem,) = found(count, {**answers, "a1": old})
        names = ", ".join(f"d{n}" for n in range(1, count + 1))
        assert problem.startswith(f"MongoDB's data on a1: found {data}, and none on {names}: the site would")
        assert "need a1 in db" in problem
        assert found(count, {**answers, "a1": old}, adopt_without=["MongoDB's data on a1"]) == []


def test_servers_with_the_data_and_those_without_any_are_not_stopped(found, monkeypatch):
    fresh, left_over = (FRESH, ""), (FULL, FOLDER)
    assert found(3, {"d1": fresh, "d2": fresh, "d3": fresh, "a1": fresh}) == []
    assert found(3, {"d1": fresh, "d2": fresh, "d3": fresh, "a1": (EMPTY, FOLDER)}) == []
    # One that has left the set keeps its data.
    assert found(3, {"d1": fresh, "d2": (FULL, FOLDER), "d3": fresh, "a1": left_over}) == []
    assert found(1, {"d1": (FRESH, FOLDER), "a1": left_over}) == []
    # The backend has a database elsewhere.
    monkeypatch.setenv("SLIPWAY_SECRET_MONGO_URL", "mongodb://db.example.org/codementee")
    assert found(1, {"d1": fresh, "a1": left_over}, backend_secrets=["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL"]) == []


def test_a_server_that_tells_nothing_has_data_where_a_folder_has(tmp_path, found, settings_with, monkeypatch):
    assert data_of({"state": "alone"}, "") == ""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "WiredTiger").touch()
    scripts: list[tuple[type, dict[str, str]]] = []

    def facts(_: object, names: object, question: Callable) -> dict[str, str]:
        scripts.append(question(SimpleNamespace(name="a1")))
        return {}

    monkeypatch.setattr("slipway.engine.across.facts", facts)
    monkeypatch.setattr(mongodb_elsewhere, "look_of", lambda settings, one: (MongodbMember, {}))
    settings = settings_with()
    settings._peers = (Peer("a1", ("app",), "10.0.0.1"),)
    mongodb_elsewhere._data(settings, mongodb_elsewhere.without_role(settings))
    ((fact, arguments),) = [one for one in scripts if one[0] is Output]
    (tmp_path / "mongod.conf").write_text(f'storage:\n  dbPath: "{tmp_path}/own"\n')
    script = fact().command(**arguments).replace("/etc/mongod.conf", f"{tmp_path}/mongod.conf")
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout == f"{tmp_path}/own\n"
