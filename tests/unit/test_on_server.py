"""The scripts of verbs that show a host's output or open a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from slipway.cli import by_ssh, logs
from slipway.cli.logs import log_script
from slipway.cli.on_server import mongosh_script, run, run_script
from slipway.engine.errors import RunFailed
from slipway.engine.outcome import Outcome
from slipway.ui.console import Console
from support.fake_session import FakeSession
from support.waiting import wait_until

UNIT = """\
[Unit]
Description=shop backend
Requires=shop-backend.socket
[Service]
Type=exec
User=shop-backend
Environment=A=b "C=d e"
LoadCredential=MONGO_URL:/etc/shop/credentials/MONGO_URL
ReadWritePaths=-/var/www/shop/shared
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
ExecStartPre=/bin/true
ExecStart=/usr/bin/python3
Restart=always
RestartSec=2
TimeoutStartSec=90
OOMScoreAdjust=500
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def settings(settings_with):
    return settings_with(site_name="shop", site_domain="shop.example")


ALL = {"one": ["web", "app", "db"]}
SPREAD = {"lb": ["lb"], "one": ["web", "app"], "two": ["db"]}


@pytest.mark.parametrize(
    ("service", "limit", "roles", "asked"),
    [
        ("backend", (), SPREAD, ("app",)),
        ("mongod", (), SPREAD, ("db",)),
        ("nginx", (), SPREAD, ("lb", "web")),
        ("nginx", (), {"one": ["web"], "two": ["app", "db"]}, ("web",)),
        ("nginx", (), ALL, ()),
        # A unit of Slipway's own, or of the system, may be on any host.
        ("slipway-backup", (), SPREAD, ()),
        ("backend", ("--limit", "two"), SPREAD, ("two",)),
    ],
)
def test_the_log_of_a_unit_is_asked_for_where_it_may_be(run, settings, monkeypatch, service, limit, roles, asked):
    monkeypatch.setattr(FakeSession, "settings", dict.fromkeys(roles, settings))
    monkeypatch.setattr(FakeSession, "roles", roles)
    monkeypatch.setattr(logs, "follow", lambda *_: None)
    assert run(Outcome([], [], 0, 0.0), "logs", "--service", service, *limit)[0] == 0
    assert run.session.last.arguments[2] == asked


def test_a_command_gets_the_lines_of_the_unit_that_make_its_environment_and_sandbox(settings, tmp_path):
    (tmp_path / "unit").write_text(UNIT)
    (tmp_path / "systemd-run").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (tmp_path / "systemd-run").chmod(0o755)
    script = run_script(settings, ("python", "-c", "print('it; $HOME')", "${HOME}"))
    script = script.replace("/etc/systemd/system/shop-backend.service", str(tmp_path / "unit"))
    command = ["dash", "-c", f"PATH={tmp_path}:$PATH; {script}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("--quiet", "--collect", "--wait", "--pipe"),
        "--property=Environment=PATH=/var/www/shop/current/backend/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "--property=User=shop-backend",
        '--property=Environment=A=b "C=d e"',
        "--property=LoadCredential=MONGO_URL:/etc/shop/credentials/MONGO_URL",
        "--property=ReadWritePaths=-/var/www/shop/shared",
        "--property=SystemCallFilter=@system-service",
        "--property=SystemCallFilter=~@privileged @resources",
        *("/usr/lib/slipway/with-credentials", "python", "-c", "print('it; $$HOME')", "$${HOME}"),
    ]


def test_without_a_release_a_command_says_what_comes_first(settings):
    done = subprocess.run(["sh", "-c", run_script(settings, ("true",))], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "`slipway apply` comes first" in done.stderr


@pytest.mark.parametrize(
    ("service", "follows", "since", "script"),
    [
        ("backend", False, "", "exec journalctl --no-pager --quiet --output=short-iso --unit=shop-backend --lines=9"),
        ("cron", True, "-1h", "exec journalctl --no-pager --quiet --output=short-iso --unit=cron --since=-1h --follow"),
        ("nginx", True, "", "exec tail -q -n 9 -F /var/log/nginx/access.log /var/log/nginx/error.log"),
    ],
)
def test_a_log_is_the_journal_s_or_a_file_of_the_program_s_own(settings, service, follows, since, script):
    assert log_script(settings, service, follows, since, 9) == script


def test_a_request_is_found_by_its_id_in_nginxs_log_and_in_the_journal(settings, tmp_path, monkeypatch):
    for name in ("error.log", "requests.log"):
        (tmp_path / name).write_text(f"{name} a\n{name} b'1 c\n{name} B'1\n{name} b'1 d\n")
    monkeypatch.setitem(logs.SEARCHED, "nginx", f"{tmp_path}/error.log {tmp_path}/requests.log")
    script = log_script(settings, "nginx", False, "", 3, "b'[0-9]")
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == ["error.log b'1 d", "requests.log b'1 c", "requests.log b'1 d"]
    words = "journalctl --no-pager --quiet --output=short-iso --unit=shop-backend --lines=3"
    assert log_script(settings, "backend", False, "", 3, "b1") == (
        f"{words} --grep=b1 --case-sensitive=yes || [ $? = 1 ]"
    )


def test_mongodb_s_shell_reads_the_password_itself(settings, tmp_path):
    file = tmp_path / "MONGODB_ADMIN_PASSWORD"
    file.write_text("recognisable")
    (tmp_path / "mongosh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"; env\n')
    (tmp_path / "mongosh").chmod(0o755)
    script = mongosh_script(settings, "print(1)").replace("/etc/shop/credentials", str(tmp_path))
    shown = subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH; {script}"], capture_output=True, text=True, check=True)
    assert f"require('fs').readFileSync(\"{file}\", 'utf8')); print(1)\n" in shown.stdout
    assert "recognisable" not in shown.stdout


class Session(SimpleNamespace):
    """One whose hosts are reached by programs of this machine."""

    def __init__(self, **failures: str) -> None:
        super().__init__(connections=SimpleNamespace(failures=failures))


@pytest.fixture
def two(monkeypatch):
    hosts = [SimpleNamespace(name="one"), SimpleNamespace(name="two")]
    monkeypatch.setattr(by_ssh, "reached", lambda session, console: hosts)
    monkeypatch.setattr(by_ssh, "argv", lambda host, script, terminal=False: ["sh", "-c", script])
    return hosts


def test_a_command_for_one_host_runs_on_none_of_two(two, monkeypatch):
    ran: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda program, words: ran.append(words))
    scripts = {"one": "first", "two": "second"}
    with pytest.raises(RunFailed, match="found 2 hosts, expected one: one, two; add --limit one"):
        by_ssh.hand_over(Session(), Console(), scripts)
    assert ran == []
    two.pop(0)
    by_ssh.hand_over(Session(), Console(), scripts)
    assert ran == [["sh", "-c", "second"]]


def test_lines_of_several_hosts_have_their_names_and_who_failed_is_told(two, capsys):
    scripts = {"one": "echo 'a [bold] line'", "two": "printf 'b\\033[2J\\n'; exit 3"}
    with pytest.raises(RunFailed) as failed:
        by_ssh.follow(Session(three="[three] Could not connect"), Console(), scripts)
    assert sorted(capsys.readouterr().out.splitlines()) == ["one: a [bold] line", "two: b\\x1b[2J"]
    assert str(failed.value) == "[three] Could not connect\n[two] ended with 3"


def test_what_follows_a_log_ends_with_the_command_even_if_that_is_killed():
    program = "from slipway.cli import by_ssh; import time; print(by_ssh._started(['sleep', '600']).pid, flush=True)"
    command = [sys.executable, "-c", f"{program}; time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        process = Path(f"/proc/{killed.stdout.readline().strip()}")
        killed.kill()
    wait_until("ssh has ended", lambda: not process.exists() or "State:\tZ" in (process / "status").read_text())


def test_a_script_goes_by_openssh_with_what_the_inventory_says_and_by_sudo_where_the_login_is_not_roots(tmp_path):
    data = {"ssh_user": "deploy", "ssh_port": 2222, "ssh_known_hosts_file": str(tmp_path / "known")}

    def words(sudo: bool) -> list[str]:
        its = {**data, "_sudo": sudo}
        return by_ssh.argv(SimpleNamespace(name="shop.invalid", data=Data(its)), "echo 'a b'; id")

    *reach, last = words(sudo=True)
    # Those of ~/.ssh/config would come on top.
    assert reach == [
        *("ssh", "-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes", "-T", "-l", "deploy", "-p", "2222"),
        *("-o", f"UserKnownHostsFile={tmp_path}/known", "shop.invalid"),
    ]
    assert shlex.split(last) == ["sudo", "-H", "sh", "-c", "echo 'a b'; id"]
    assert shlex.split(words(sudo=False)[-1]) == ["sh", "-c", "echo 'a b'; id"]


class Data(dict):
    """A host's data, as pyinfra has them."""

    def dict(self):
        return {**self}


def test_an_environment_in_the_place_of_the_command_is_refused_with_the_right_form():
    done = CliRunner().invoke(run, ["lab", "--", "python", "-c", "print(1)"])
    assert done.exit_code == 2
    assert "slipway run --env lab -- python -c 'print(1)'" in " ".join(done.output.split())
