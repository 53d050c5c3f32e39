"""`slipway upgrade` without a host: what it shows, when it asks, and in which order it goes."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.cli import upgrade
from slipway.engine.errors import RunFailed
from slipway.engine.outcome import Outcome
from support.fake_session import CHANGES, FakeSession

NOTHING = Outcome([], [], 9, 1.0)
SERVER = {
    "installed": "7.0.5",
    "available": ["7.0.28", "7.0.5"],
    "feature_version": "7.0",
    "drill": None,
    "is_primary": True,
}


def found(*updates: list[str], server: dict[str, Any] | None = None) -> dict[str, Any]:
    packages = {"os": [*updates], "mongodb": [], "node": []}
    its = {"packages": packages, "outdated": [], "reboot": False, "server": server}
    its |= {"interrupted": [], "left_out": []}
    return {**its, "restarts": {kind: {} for kind in packages}}


@pytest.fixture
def jobs(monkeypatch):
    """What the hosts are asked for, in order. A test sets what they say, and may let a job fail."""
    settings = SimpleNamespace(
        mongodb_version="7.0", backup_repositories={"near": "/srv/backup"}, peers_with=lambda role: []
    )
    monkeypatch.setattr(FakeSession, "settings", {"one": settings, "two": settings})
    ran: list[str] = []
    its = SimpleNamespace(found={}, ran=ran, fails="")

    def run_job(session, console, scripts, job=None, shows=True):
        for name, script in scripts.items():
            ran.append(f"{name}: {script}")
            if script == its.fails:
                raise RunFailed(f"[{name}] it failed")

    monkeypatch.setattr(upgrade, "run_job", run_job)
    monkeypatch.setattr(upgrade, "look", lambda session, given: its.found)
    monkeypatch.setattr(upgrade, "givens", lambda session, with_mongodb: {"one": {}, "two": {}})
    monkeypatch.setattr(upgrade, "asked", lambda step, given: step)
    monkeypatch.setattr(upgrade, "start_script", lambda command, job: command)
    monkeypatch.setattr(upgrade, "backup_script", lambda words: f"backup {words[0]}")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return its


def test_nothing_begins_without_a_yes(run, jobs):
    jobs.found = {"one": found(["libssl3", "1", "2"]), "two": found(server=SERVER)}
    code, output, errors = run(NOTHING, "upgrade", "lab")
    assert (code, jobs.ran) == (1, [])
    assert "os: libssl3 1 -> 2" in output
    assert "mongodb: 7.0.5 -> 7.0.28" in output
    assert "confirm with --yes" in errors


def test_one_host_follows_the_other_and_a_backup_comes_before_mongodb(run, jobs):
    jobs.found = {"one": found(["libssl3", "1", "2"]), "two": found(["libc6", "1", "2"], server=SERVER)}
    code, _, _ = run(NOTHING, "upgrade", "lab", "--yes")
    assert code == 0
    assert jobs.ran == ["one: packages", "two: backup now", "two: mongodb", "two: packages"]
    assert run.session.last.said == ["upgrade: locked", "upgrade: unlocked"] * 2


@pytest.mark.parametrize(
    ("fails", "ran"),
    [
        ("backup now", ["two: backup now"]),
        ("mongodb", ["two: backup now", "two: mongodb"]),
    ],
)
def test_the_first_failure_ends_it(run, jobs, fails, ran):
    jobs.found, jobs.fails = {"two": found(["libc6", "1", "2"], server=SERVER)}, fails
    code, _, errors = run(NOTHING, "upgrade", "lab", "--yes")
    assert (code, jobs.ran) == (1, ran)
    assert "[two] it failed" in errors


def test_what_prevents_one_host_prevents_all_before_any_change(run, jobs):
    only_new = {**SERVER, "available": ["7.0.28"]}
    jobs.found = {"one": found(["libssl3", "1", "2"]), "two": found(server=only_new)}
    code, _, errors = run(NOTHING, "upgrade", "lab", "--yes")
    assert (code, jobs.ran) == (1, [])
    assert "[two] the repository no longer has MongoDB 7.0.5" in errors
    # Who does not want MongoDB is not kept from the rest.
    code, _, _ = run(NOTHING, "upgrade", "lab", "--only", "os", "--yes")
    assert (code, jobs.ran) == (0, ["one: packages"])


def test_slipways_own_part_is_an_apply_after_the_packages(run, jobs):
    jobs.found = {"one": found(["libssl3", "1", "2"])}
    changed = Outcome(CHANGES, [], 9, 1.0)
    code, output, _ = run(changed, "upgrade", "lab", "--yes")
    assert code == 0
    assert "Configure Nginx" in output
    assert run.session.last.said == ["upgrade: locked", "upgrade: unlocked", "applied"]
    code, output, _ = run(changed, "upgrade", "lab", "--only", "os", "--yes")
    assert "Configure Nginx" not in output
    assert run.session.last.said == ["upgrade: locked", "upgrade: unlocked"]


def test_where_all_is_up_to_date_nobody_is_asked(run, jobs):
    jobs.found = {"one": found(), "two": found(server={**SERVER, "installed": "7.0.28"})}
    code, output, _ = run(NOTHING, "upgrade", "lab")
    assert (code, jobs.ran) == (0, [])
    assert output.count("up to date") == 2
    jobs.found["one"]["left_out"] = ["/etc/apt/sources.list.d/other.list"]
    _, output, _ = run(NOTHING, "upgrade", "lab")
    assert "left out, as apt can't refresh its lists: /etc/apt/sources.list.d/other.list" in output
    assert output.count("up to date") == 2


def test_of_a_replica_set_the_primary_raises_the_features_and_only_if_all_have_the_series(run, jobs, monkeypatch):
    set_of_two(monkeypatch)
    waits = {**SERVER, "installed": "8.0.17", "feature_version": "7.0"}
    jobs.found = {
        "one": found(server={**waits, "is_primary": False}),
        "two": found(server={**waits, "is_primary": True}),
    }
    code, _, _ = run(NOTHING, "upgrade", "lab", "--raise-features", "--yes")
    assert (code, jobs.ran) == (0, ["two: features"])
    jobs.found["one"]["server"]["installed"] = "7.0.28"
    code, _, errors = run(NOTHING, "upgrade", "lab", "--raise-features", "--yes")
    assert (code, jobs.ran) == (1, ["two: features"])
    assert "found 7.0 on one, 8.0 on two, expected one series on all members" in errors
    del jobs.found["one"]
    code, _, errors = run(NOTHING, "upgrade", "lab", "--raise-features", "--limit", "two", "--yes")
    assert (code, jobs.ran) == (1, ["two: features"])
    assert "found one not in this run, expected all members of the replica set" in errors


def set_of_two(monkeypatch, **changes: Any) -> None:
    """Two members of a replica set; the first one makes the backups."""
    members = [SimpleNamespace(name=name) for name in ("one", "two")]
    settings = SimpleNamespace(**{"mongodb_version": "8.0", "peers_with": lambda role: members, **changes})
    monkeypatch.setattr(FakeSession, "settings", {"one": settings, "two": settings})


def test_a_replica_set_gets_a_new_series_after_a_backup_by_the_member_that_makes_them(run, jobs, monkeypatch):
    set_of_two(monkeypatch, backup_repositories={"near": "/srv/backup"})
    monkeypatch.setattr(upgrade, "in_turn", lambda settings: SimpleNamespace(before="leave"))
    passed = {"result": "passed", "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    of_series = {**SERVER, "available": ["8.0.17", "7.0.5"]}
    jobs.found = {"one": found(server={**of_series, "drill": passed}), "two": found(server=of_series)}
    code, output, errors = run(NOTHING, "upgrade", "lab", "--yes")
    assert (code, errors) == (0, "")
    assert [line.split("\n")[0] for line in jobs.ran] == [
        "one: backup now",
        "one: mongodb",
        "two: leave 2>&1 || exit 1",
        # Those of the series before can't be restored any more.
        "one: backup now",
    ]
    assert "a full backup first on one" in output
    assert "one: a full backup of MongoDB 8.0" in output
    assert "backup_repositories is empty" not in output
    del jobs.found["one"]
    code, _, errors = run(NOTHING, "upgrade", "lab", "--limit", "two", "--yes")
    assert code == 1
    assert "[two] a new series needs a backup first: one makes them and is not in this run" in errors


def test_the_primary_of_a_replica_set_is_upgraded_last(run, jobs, monkeypatch):
    set_of_two(monkeypatch, mongodb_version="7.0", backup_repositories={})
    monkeypatch.setattr(upgrade, "in_turn", lambda settings: SimpleNamespace(before="leave"))
    jobs.found = {"one": found(server=SERVER), "two": found(server={**SERVER, "is_primary": False})}
    code, _, errors = run(NOTHING, "upgrade", "lab", "--yes")
    assert (code, errors) == (0, "")
    assert [line.split(":")[0] for line in jobs.ran] == ["two", "one"]


def test_features_are_raised_by_a_command_of_their_own(run, jobs):
    waits = {**SERVER, "installed": "8.0.17", "feature_version": "7.0"}
    jobs.found = {"one": found(), "two": found(server=waits)}
    code, output, _ = run(NOTHING, "upgrade", "lab", "--raise-features")
    assert (code, jobs.ran) == (1, [])
    assert "features 7.0 -> 8.0; afterwards there is no way back to 7.0" in output
    code, _, _ = run(NOTHING, "upgrade", "lab", "--raise-features", "--yes")
    assert (code, jobs.ran) == (0, ["two: features"])
    code, _, errors = run(NOTHING, "upgrade", "lab", "--raise-features", "--only", "os")
    assert code == 1
    assert "expected it alone" in errors
