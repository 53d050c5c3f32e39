"""`slipway rebuild` without a host: which verbs it runs, and when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from slipway.cli import rebuild
from support.fake_session import FakeSession


@pytest.fixture
def ran(monkeypatch, settings_with):
    """The verbs that have run. The exit code of each is in `codes`, by its name."""
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "of-the-repositories")
    settings = settings_with(backup_repositories={"far": "rest:https://box.example/shop"})
    monkeypatch.setattr(FakeSession, "settings", {"one": settings, "two": settings})
    monkeypatch.setattr(rebuild, "Session", FakeSession)
    found = SimpleNamespace(verbs=[], codes={}, by=dict)

    def run(command, **_):
        _python, _safe, _module, name, verb, *words = command
        assert name == "slipway"
        found.verbs.append([verb, *words])
        found.by()
        return SimpleNamespace(returncode=found.codes.get(verb, 0))

    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_settings_data_and_a_check_follow_each_other(ran):
    words = ["lab", "--limit", "web", "--data", "swap_mb=0", "--at", "2026-11-29T15:00:01Z", "--yes"]
    done = CliRunner().invoke(rebuild.rebuild, words)
    assert done.exit_code == 0, done.output
    chosen = ["lab", "--limit=web", "--data=swap_mb=0"]
    assert ran.verbs == [
        ["apply", *chosen, "--yes"],
        ["restore", *chosen, "--files", "--secrets", "--if-new", "--at", "2026-11-29T15:00:01Z", "--yes"],
        ["verify", *chosen],
    ]


@pytest.mark.parametrize(("verb", "count"), [("apply", 1), ("restore", 2), ("verify", 3)])
def test_what_fails_ends_it(ran, verb, count):
    ran.codes = {verb: 7}
    assert CliRunner().invoke(rebuild.rebuild, ["--yes"]).exit_code == 7
    assert len(ran.verbs) == count


def test_an_interrupt_is_the_running_verbs(ran):
    ran.by, ran.codes = lambda: os.kill(os.getpid(), signal.SIGINT), {"apply": 130}
    before = signal.getsignal(signal.SIGINT)
    assert CliRunner().invoke(rebuild.rebuild, ["--yes"]).exit_code == 130
    assert len(ran.verbs) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_it_asks_once_before_anything_runs(ran, monkeypatch):
    monkeypatch.setattr(rebuild, "confirmed", lambda: False)
    done = CliRunner().invoke(rebuild.rebuild, [])
    assert "one, two: apply the settings, restore what a new server lacks, verify" in done.output
    assert ran.verbs == []


def test_a_server_without_backups_and_a_part_of_the_data_are_refused(ran, monkeypatch):
    assert "slipway restore --only" in CliRunner().invoke(rebuild.rebuild, ["--only", "shop", "--yes"]).output
    monkeypatch.setattr(FakeSession, "settings", {"one": SimpleNamespace(backup_repositories={})})
    done = CliRunner().invoke(rebuild.rebuild, ["--yes"])
    assert "backup_repositories: found none, expected those of the lost server" in str(done.exception)
    assert ran.verbs == []
