"""The dead man's switch, its commands run in a temporary folder."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from slipway.engine.login import Login, LoginFailed
from slipway.ops.templates import render
from slipway.tasks import guard
from support.described import FakeHost

LOGIN = Login("admin", 22)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The switch's folder. A fake `systemctl` starts the undo, and records other calls."""
    folder = tmp_path / "undo"
    monkeypatch.setattr(guard, "FOLDER", str(folder))
    (tmp_path / "script").write_text(render("guard/undo", folder=folder))
    (tmp_path / "bin").mkdir()
    programs = {
        "systemctl": f'echo "$@" >> {tmp_path}/told; [ "$*" != "{guard.UNDO_NOW[10:]}" ] || sh {tmp_path}/script',
        "fail2ban-client": "exit 1",
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return folder


def sh(script: str) -> int:
    return subprocess.run(["sh", "-c", script], capture_output=True, check=False, timeout=30).returncode


@pytest.fixture
def change(folder, settings_with):
    """Runs a guarded change, up to the login; returns its exit code."""
    return lambda script, revive=":": carry_out(settings_with(), folder, script, revive)


def carry_out(settings, folder, script: str, revive: str) -> int:
    config = folder.parent / "config"
    config.write_text("before\n")
    host = FakeHost(())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "host", host)
        paths = [str(config), str(folder.parent / "added")]
        _, command, login = guard.guarded(settings, "ssh", paths, script.format(folder.parent), revive, LOGIN)
    assert login.function is guard._confirm
    return sh(str(command))


def told(folder) -> list[str]:
    return (folder.parent / "told").read_text().splitlines()


def test_a_change_arms_the_switch_before_it_is_made_and_gives_the_login_its_time(change, folder):
    assert change("grep -q restart {0}/told && [ -d {0}/undo/armed/ssh ] && echo after > {0}/config") == 0
    assert told(folder) == [f"restart {guard.TIMER}"] * 2
    assert (folder / "armed/ssh/before.tar").exists()


def test_what_was_there_comes_back_and_what_was_not_goes_where_nobody_logs_in(change, folder):
    assert change("echo after > {0}/config; echo new > {0}/added", "echo revived >> " + str(folder.parent / "log")) == 0
    assert sh(f"sh {folder.parent}/script") == 0
    assert (folder.parent / "config").read_text() == "before\n"
    assert not (folder.parent / "added").exists()
    assert (folder.parent / "log").read_text() == "revived\n" * 2, "once with the change, once without"
    assert (folder / "undone/ssh").exists()
    assert not (folder / "armed").exists()


def test_a_change_that_fails_half_way_is_undone_at_once(change, folder):
    assert change("echo after > {0}/config; false") == 1
    assert (folder.parent / "config").read_text() == "before\n"


def test_a_login_disarms_the_switch_and_one_that_comes_too_late_is_told_so(change, folder):
    assert change("echo after > {0}/config") == 0
    assert sh(guard._disarm("ssh")) == 0
    assert told(folder)[-1] == f"stop {guard.TIMER}"
    assert (folder.parent / "config").read_text() == "after\n"
    assert sh(guard._disarm("ssh")) == 1


def test_the_switch_stays_armed_while_another_change_waits_for_its_login(change, folder):
    assert change("echo after > {0}/config") == 0
    (folder / "armed/firewall").mkdir()
    assert sh(guard._disarm("ssh")) == 0
    assert told(folder)[-1] != f"stop {guard.TIMER}"


@pytest.fixture
def confirm(monkeypatch, settings_with):
    """Confirms a change; returns whether it is kept, and the commands by connection."""

    def confirm(refused: LoginFailed | None) -> tuple[bool, list[tuple[str, str]]]:
        said: list[tuple[str, str]] = []

        def by_new_login(host, login, script, seconds):
            assert seconds < 60, "the host waits no longer"
            said.append(("new", script))
            if refused:
                raise refused

        def by_open_connection(command, **arguments):
            said.append(("open", str(command)))
            return True, None

        monkeypatch.setattr(guard, "run_by_new_login", by_new_login)
        monkeypatch.setattr(guard, "logger", SimpleNamespace(error=lambda text: None))
        host = SimpleNamespace(data={}, print_prefix="", run_shell_command=by_open_connection)
        return guard._confirm(SimpleNamespace(), host, settings_with(), "ssh", LOGIN, lambda host: None), said

    return confirm


def test_only_a_new_login_disarms_the_switch(confirm):
    assert confirm(None) == (True, [("new", guard._disarm("ssh"))])


def test_where_the_new_login_is_refused_the_change_is_undone_and_the_operation_fails(confirm):
    stays, said = confirm(LoginFailed("refused"))
    assert (stays, said[1:]) == (False, [("open", guard.UNDO_NOW)])


def test_the_host_waits_a_minute_for_a_login_and_goes_on_waiting_after_a_reboot(settings_with):
    timer = render("guard/slipway-undo.timer", **guard.template_values(settings_with())).splitlines()
    assert {"OnActiveSec=60", "AccuracySec=1", "WantedBy=timers.target"} <= {*timer}
    assert f"ConditionDirectoryNotEmpty={guard.FOLDER}/armed" in timer
