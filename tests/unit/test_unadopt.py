"""The way back from an adoption, as a script: it is whole, and does nothing where nothing was adopted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.engine.errors import RunFailed
from slipway.engine.executor import Executor
from slipway.engine.remote_shell import Answer
from slipway.tasks.adoption import ASIDE
from slipway.tasks.unadopt import script


def test_the_script_is_one_that_a_shell_takes(settings_with):
    subprocess.run(["sh", "-n"], input=script(settings_with()), text=True, check=True)


def test_where_nothing_was_adopted_nothing_is_put_back(settings_with, tmp_path):
    text = script(settings_with()).replace(ASIDE, str(tmp_path / "by-hand"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"nothing was adopted here: found no {tmp_path}/by-hand\n"
    assert not (tmp_path / "by-hand").exists()


def test_what_would_not_start_is_looked_at_before_anything_moves(settings_with):
    text = script(settings_with())
    first_move = text.index("back etc/mongod.conf")
    assert all(text.index(check) < first_move for check in ("nginx -t -q", "sshd -t", "--outputConfig"))


def test_why_it_failed_is_told_with_the_host(settings_with, tmp_path, monkeypatch):
    text = script(settings_with()).replace(ASIDE, str(tmp_path / "by-hand"))
    connector, failures = SimpleNamespace(host=SimpleNamespace(name="box")), {}

    def by_root(script: Callable[[Any], str]) -> list[tuple[Any, Answer]]:
        done = subprocess.run(["sh", "-c", script(connector.host)], stdout=subprocess.PIPE, text=True, check=False)
        return [(connector, Answer(done.returncode, done.stdout))]

    hosts = SimpleNamespace(
        by_root=by_root,
        deploy="",
        log=None,
        failures=failures,
        fail=lambda host, text: failures.update({host.name: text}),
    )
    executor = Executor(SimpleNamespace(connections=hosts, state=None, run=None))
    monkeypatch.setattr(executor, "_lock", lambda: None)
    monkeypatch.setattr(executor, "_unlock", lambda done, seconds: None)
    with pytest.raises(RunFailed, match=r"^\[box\] nothing was adopted here: found no "):
        executor.carry_out("unadopt", lambda host: text)
