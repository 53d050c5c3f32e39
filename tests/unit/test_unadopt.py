"""The script that undoes an adoption: it is valid, and does nothing without an adoption."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.engine.errors import RunFailed
from slipway.engine.executor import Executor
from slipway.engine.outcome import Outcome
from slipway.engine.remote_shell import Answer
from slipway.tasks.owners import ASIDE
from slipway.tasks.unadopt import BEGIN, SYSTEMD, UNITS, script
from support.fake_session import FakeSession


def test_the_script_is_one_that_a_shell_takes(settings_with):
    subprocess.run(["sh", "-n"], input=script(settings_with()), text=True, check=True)


def test_without_an_adoption_nothing_is_restored(settings_with, tmp_path):
    text = script(settings_with()).replace(ASIDE, str(tmp_path / "by-hand"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"nothing was adopted here: found no {tmp_path}/by-hand\n"
    assert not (tmp_path / "by-hand").exists()


def test_configurations_are_checked_before_anything_moves(settings_with):
    text = script(settings_with())
    first_move = text.index("back etc/mongod.conf")
    assert all(text.index(check) < first_move for check in ("nginx -t -q", "sshd -t", "--outputConfig"))


def test_what_is_put_back_is_a_copy_and_what_it_replaces_is_kept(tmp_path):
    place, kept, ours = (tmp_path / name for name in ("place", "kept", "ours"))
    before = kept / str(place)[1:]
    for folder, text in ((place, "by Slipway"), (before, "by hand")):
        (folder / "sites").mkdir(parents=True)
        (folder / "sites/shop").write_text(text)
    (place / "sites/more").touch()
    (before / "sites/shop").chmod(0o600)
    text = f"{BEGIN.replace(ASIDE, str(kept))}\nours={ours}; back {str(place)[1:]}"
    subprocess.run(["sh", "-c", text], check=True)
    assert [file.name for file in (place / "sites").iterdir()] == ["shop"]
    assert ((place / "sites/shop").read_text(), (place / "sites/shop").stat().st_mode & 0o777) == ("by hand", 0o600)
    assert (before / "sites/shop").read_text() == "by hand"
    there = ours / str(place)[1:] / "sites"
    assert {file.name: file.read_text() for file in there.iterdir()} == {"shop": "by Slipway", "more": ""}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "ours", "place"]


def test_slipways_own_units_stop_whatever_was_there_before(tmp_path):
    place, ours, kept = (tmp_path / name for name in ("units", "ours", "kept"))
    texts = {
        "shop-backend.service": "# Slipway: a unit of a site\n# The backend, by Slipway.",
        "shop-backend.socket": "# The listening socket, by Slipway.",
        "slipway-alarms.service": "# Sends alarms, by Slipway.",
        "slipway-alarms.timer": "[Timer]",
        "shop-valkey.service": "# Slipway: the Valkey of a site",
    }
    stays = {"slipway-thp.service": "# Huge pages, by Slipway.", "theirs.service": "[Service]", "theirs.timer": ""}
    (place / "multi-user.target.wants").mkdir(parents=True)
    kept.mkdir()
    for name, text in (texts | stays).items():
        (place / name).write_text(text)
    told = f'systemctl() {{ echo "$*" >> {tmp_path}/told; }}'
    text = f"{BEGIN.replace(ASIDE, str(kept))}\nours={ours}; {told}\n{UNITS}"
    subprocess.run(["sh", "-c", text.replace(SYSTEMD[1:], str(place)[1:]), "sh", "an argument"], check=True)
    assert sorted(path.name for path in place.iterdir() if path.is_file()) == sorted(stays)
    assert sorted(path.name for path in ours.rglob("*.*") if path.is_file()) == sorted(texts)
    stop, reload = (tmp_path / "told").read_text().splitlines()
    assert sorted({*stop.split()[3:]}) == sorted(texts)
    assert (stop.split()[:3], reload) == (["disable", "--quiet", "--now"], "daemon-reload")


def test_what_an_interrupted_adoption_keeps_running_ends_before_the_old_unit_starts(settings_with):
    text = script(settings_with())
    kept = text.index("disable --now codementee-backend-by-hand.service")
    scope = text.index("systemctl stop codementee-backend-by-hand.scope")
    assert kept < scope < text.index("systemctl enable --quiet --now codementee-backend.service")


def test_nothing_is_put_back_without_a_yes(run, settings_with, monkeypatch):
    monkeypatch.setattr(FakeSession, "settings", {"one": settings_with(), "two": settings_with()})
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, _, errors = run(Outcome([], [], 0, 0.0), "unadopt", "lab")
    assert (code, run.session.last.said) == (1, [])
    assert "confirm with --yes" in errors
    code, _, _ = run(Outcome([], [], 0, 0.0), "unadopt", "lab", "--yes")
    assert code == 0
    assert len(run.session.last.said) == 2


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
