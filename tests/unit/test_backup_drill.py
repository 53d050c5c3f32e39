"""The drill restores the data of its moment, compares them, and writes a report: by programs and a repository of the
test's own, without a MongoDB."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.backups import restoring
from slipway.backups.host import Facts, Failed
from support.backed_up import DATA, Kept, Server, backed_up_host, kept_in, live, restored_in


@pytest.fixture
def facts(tmp_path, monkeypatch) -> Facts:
    return backed_up_host(tmp_path, monkeypatch)


@pytest.fixture
def kept(monkeypatch) -> Kept:
    return kept_in(monkeypatch)


@pytest.fixture
def restored(facts, kept, monkeypatch):
    return restored_in(kept, monkeypatch)


def test_a_drill_fails_where_the_data_of_its_moment_are_not_what_is_restored(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server(data=DATA, ends=(200, 1)))
    restoring.drill(facts)
    assert json.loads((tmp_path / "state/drill.json").read_text())["result"] == "passed"
    live(monkeypatch, Server(data={"shop.orders": [3, "of three orders"]}, ends=(200, 1)))
    with pytest.raises(Failed, match="the drill failed: the restored data differ from the present data of 1970"):
        restoring.drill(facts)
    report = json.loads((tmp_path / "state/drill.json").read_text())
    assert (report["result"], len(report["signature"])) == ("failed", 64)
    assert not Path(f"{facts.data}.drill").exists()


def test_a_drill_fails_where_the_users_own_check_does(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server(data=DATA, ends=(200, 1)))
    check = f'[ "$MONGO_URL" = mongodb://scratch ] && touch "$HOME/log" {tmp_path}/checked'
    restoring.drill(facts._replace(check=check))
    assert (tmp_path / "checked").exists()
    with pytest.raises(Failed, match="the drill failed: backup_check: the command ended with 1: 0 orders"):
        restoring.drill(facts._replace(check="echo 0 orders >&2; exit 1"))
    assert json.loads((tmp_path / "state/drill.json").read_text())["result"] == "failed"


def test_a_drill_may_be_the_first_step_on_a_host(facts, restored, monkeypatch, tmp_path):
    (tmp_path / "state").rmdir()
    live(monkeypatch, Server(data=DATA, ends=(200, 1)))
    restoring.drill(facts)
    assert json.loads((tmp_path / "state/drill.json").read_text())["result"] == "passed"
