"""Copies for developers: rebuilt, anonymised and without users, or none, by a rebuilt MongoDB and a mongodump of the
test's own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest

from slipway.backups import copying, mongo
from slipway.backups import host as backup_host
from slipway.backups.host import Facts, Failed


@pytest.fixture
def scratch(monkeypatch, tmp_path):
    """The rebuilt data: what it is asked for, and mongodump, which writes down its words."""
    asked: list[object] = []

    @contextmanager
    def rebuilt(facts, found, folder):
        there = SimpleNamespace(uri="mongodb://scratch", ask=asked.append)
        there.collections = lambda: [("shop", "orders")]
        there.forget_users = partial(mongo.Scratch.forget_users, there)
        yield there

    monkeypatch.setattr(copying, "rebuilt", rebuilt)
    monkeypatch.setattr(copying.members, "not_copied", lambda scratch, only: ["shop.by_day"])
    monkeypatch.setattr(backup_host, "RUN", str(tmp_path / "run"))
    program = tmp_path / "mongodump"
    program.write_text('#!/bin/sh\nfor word; do case $word in --archive=*) echo "$@" > ${word#*=} ;; esac; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    none = Facts(**{name: None for name in Facts._fields})
    return none._replace(data=str(tmp_path / "mongodb"), anonymise=""), asked


def test_a_copy_is_anonymised_and_has_no_users(scratch, tmp_path):
    facts, asked = scratch
    hook = f'echo "$MONGO_URL" > {tmp_path}/hook; touch "$HOME/log"; echo "$HOME" > {tmp_path}/home'
    copying.pull(facts._replace(anonymise=hook), None, "shop.orders", is_raw=False)
    assert (tmp_path / "hook").read_text() == "mongodb://scratch\n"
    # mongosh writes there.
    assert (tmp_path / "home").read_text().startswith(f"{tmp_path}/run/")
    assert [*(tmp_path / "run").iterdir()] == [tmp_path / "run/restore.lock"]
    assert [next(iter(command.values())) for command in asked] == ["system.roles", "system.users"]
    assert "--db shop --collection orders" in (tmp_path / "mongodb.pull.gz").read_text()


def test_a_copy_of_what_the_backup_does_not_have_is_refused(scratch, tmp_path):
    for missing in ("shop.carts", "carts"):
        with pytest.raises(Failed, match=f"found no {missing} in the backup; available: shop.orders, shop.by_day"):
            copying.pull(scratch[0], None, missing, is_raw=True)
    assert list(tmp_path.glob("mongodb.pull*")) == []
    # A view.
    copying.pull(scratch[0], None, "shop.by_day", is_raw=True)
    assert "--db shop --collection by_day" in (tmp_path / "mongodb.pull.gz").read_text()


def test_no_copy_is_left_without_a_hook_or_where_it_fails(scratch, tmp_path):
    facts, asked = scratch
    with pytest.raises(Failed, match="backup_anonymise is empty"):
        copying.pull(facts, None, "", is_raw=False)
    assert asked == []
    with pytest.raises(Failed, match="backup_anonymise: the command ended with 3: it printed nothing"):
        copying.pull(facts._replace(anonymise="exit 3"), None, "", is_raw=False)
    assert list(tmp_path.glob("mongodb.pull*")) == []
    copying.pull(facts, None, "", is_raw=True)
    assert (tmp_path / "mongodb.pull.gz").exists()
