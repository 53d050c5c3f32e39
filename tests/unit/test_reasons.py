"""Errors have their reason, final file names and a hint, once."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import gevent
import pytest
from pyinfra.api import StringCommand

from slipway.engine.errors import HINTS, hints_for
from slipway.engine.executor import Executor, Interrupted
from slipway.ops.commands import checked
from slipway.ops.files import write_script


def sh(script: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-euc", script], input=given, capture_output=True, text=True, check=False)


def test_a_check_that_fails_is_shown_with_the_names_that_files_will_have():
    check = "echo 'unknown directive in /etc/x.new/sites/a:3, test of /etc/x.new/check failed' >&2; false"
    done = sh(checked(check, **{"/etc/x.new/check": "/etc/x/main.conf", "/etc/x.new": "/etc/x"}))
    assert done.returncode == 1
    assert done.stderr == "unknown directive in /etc/x/sites/a:3, test of /etc/x/main.conf failed\n"
    assert sh(f"{checked('echo fine')}; echo on").stdout == "on\n"


def test_a_file_that_its_check_refuses_is_called_by_its_own_name(tmp_path):
    path = tmp_path / "mongod.conf"
    script = write_script(str(path), "644", "root", "root", "! grep -H nonsense {} >&2")
    done = sh(script, "bm9uc2Vuc2UK")
    assert done.returncode == 1
    assert done.stderr == f"{path}:nonsense\n"
    assert list(tmp_path.iterdir()) == []


ADMIN = "Authentication error: admin@192.0.2.1 (port 22): the host refused the agent's key"
ROOT = 'root logs in by port 22, but the login ran no command; it printed: Please login as the user "debian"'


@pytest.mark.parametrize(
    ("text", "says", "says_not"),
    [
        (ADMIN, ["set ssh_user and ssh_key"], ["answers instead"]),
        # Who came furthest is who can be helped.
        (f"{ADMIN}\n{ROOT}\n{ADMIN}", ["set ssh_user for the host", "set ssh_user and ssh_key"], ["answers instead"]),
        (
            f"{ADMIN}\n{ROOT}\ndebian logs in by port 22, but sudo: a password is required",
            ["NOPASSWD"],
            ["set ssh_user"],
        ),
        ("admin logs in by port 22, but the login ran no command; it printed: 1 quit", ["answers instead"], ["sftp"]),
        ("  Type:   connection", ["port 80"], []),
        (
            "retrieving: too many certificates (5) already issued",
            ["wait until the time that it names"],
            ["letsencrypt-staging"],
        ),
        (
            "shop-backend.service: is crash-looping: NameError: name 'x'",
            ["`slipway release`, then `slipway apply`"],
            [],
        ),
        ("Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)", ["ps -fp PID"], []),
    ],
)
def test_an_error_comes_with_what_to_do(text, says, says_not):
    hints = "\n".join(hints_for(text))
    assert [word for word in says if word not in hints] == []
    assert [word for word in says_not if word in hints] == []
    # Asked again, of what is told, there is nothing to add.
    assert hints_for(f"{text}\n{hints}") == []


def test_each_hint_is_a_whole_sentence_in_one_line():
    assert [hint for hint in HINTS.values() if "\n" in hint or hint.startswith(" ") or hint.endswith(".")] == []


def executor(said: list[str], command: str) -> tuple[Executor, object]:
    """One whose only operation has failed, having printed something."""
    host = type("Host", (), {"name": "box"})()
    found = Executor.__new__(Executor)
    operation = SimpleNamespace(operation_meta=SimpleNamespace(_commands=[StringCommand(command)]))
    found.state = SimpleNamespace(get_op_order=lambda: ["hash"], ops={host: {"hash": operation}})
    found.planner = SimpleNamespace(name_of=lambda op_hash: "Install packages")
    found.connections = SimpleNamespace(log=SimpleNamespace(take=lambda name: said))
    return found, host


def test_a_line_is_reported_once_and_a_script_of_slipway_s_not_at_all():
    found, host = executor(["E: gone", "E: is old"] * 6, "umask 022\nrefresh() { true; }")
    assert found._where(host, "hash", None, []).splitlines()[1:3] == ["  | E: gone", "  | E: is old"]
    found, host = executor(["why"], "certbot certonly")
    assert "  command: certbot certonly" in found._where(host, "hash", None, [])


def test_an_interruption_ends_what_waits_and_says_what_its_hosts_are_at():
    assert str(Interrupted({"one": "Install packages"})) == "  [one] may go on with: Install packages"
    assert str(Interrupted({})) == ""
    ended = []

    def wait(*_: object) -> None:
        try:
            gevent.sleep(60)
        finally:
            ended.append(True)

    host = type("Host", (), {"name": "box"})()
    found = Executor.__new__(Executor)
    found.connections = SimpleNamespace(active_hosts=lambda: [host])
    arguments = SimpleNamespace(global_arguments={"_serial": False, "_parallel": 0})
    found.state = SimpleNamespace(ops={host: {"hash"}}, get_op_meta=lambda op_hash: arguments)
    found._run_on = wait
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
        found._run("hash", print, [])
    assert ended == [True]
