"""The connector against a local `sh`: the same results as plain pyinfra, in fewer round trips."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import gevent
import pytest
from paramiko import SSHException
from pyinfra import host as current_host
from pyinfra.api import FunctionCommand, HiddenValue, State, StringCommand, operation
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta

from slipway.engine import connector, remote_shell
from slipway.engine.connector import HostFailed
from slipway.engine.ssh import open_session, peer_address
from support.connected import Counted, Shown, change, evaluate, execute, look
from support.limited import limited

# --- facts are cleared by any change


def counter(folder: Path) -> str:
    """A command that says how often it has run."""
    return f"echo x >> {folder}/count; wc -l < {folder}/count"


def test_a_fact_is_asked_once_until_something_changes_on_any_host(hosts, tmp_path):
    one, other = hosts("one", "other")
    count = counter(tmp_path)
    assert [one.get_fact(Shown, command=count) for _ in range(2)] == ["1", "1"]
    assert execute(other, lambda: change(name="Change the other", command="true"))
    assert one.get_fact(Shown, command=count) == "2"
    assert not execute(other, lambda: change(name="Fail on the other", command="false"))
    assert one.get_fact(Shown, command=count) == "3"
    one.put_file(io.BytesIO(b"x"), f"{tmp_path}/file")
    assert one.get_fact(Shown, command=count) == "4"


def test_a_function_may_change_anything_by_itself_and_reads_what_is_true_then(hosts, tmp_path):
    one, other = hosts("one", "other")
    file = tmp_path / "file"
    file.write_text("before")
    show, seen = f"cat {file}", []

    def function(of: Host) -> None:
        seen.append(of.get_fact(Shown, command=show))
        file.write_text("by the function")
        seen.append(of.get_fact(Shown, command=show))

    def with_host(state: State, host: Host) -> bool:
        function(host)
        return True

    @operation()
    def call(callback: Callable[..., Any]) -> Any:
        assert current_host.get_fact(Shown, command=show) == "before"
        yield FunctionCommand(callback, (), {})

    for callback in (with_host, lambda: function(one)):
        file.write_text("before")
        pyinfra_compat.forget_all(one.state)
        assert other.get_fact(Shown, command=show) == "before"
        assert execute(one, lambda callback=callback: call(name=f"Call {callback}", callback=callback))
        assert other.get_fact(Shown, command=show) == "by the function"
        assert one.get_fact(Shown, command=show) == "by the function"
    assert seen == ["before", "by the function"] * 2


def test_facts_are_asked_again_after_a_reconnect(host, tmp_path):
    count = counter(tmp_path)
    assert host.get_fact(Shown, command=count) == "1"
    host.connector.client.close()
    assert host.get_fact(Shown, command="echo back") == "back"
    assert host.get_fact(Shown, command=count) == "2"


def test_who_asks_while_the_connection_is_made_anew_waits_for_the_login(host, monkeypatch):
    """sshd never answers a session that is opened before it."""
    logins, connected = [], []
    open_connection = host.connector._open

    def counted(way: Any) -> None:
        logins.append(way)
        open_connection(way)

    def seen(transport: Any, *arguments: Any) -> Any:
        connected.append(transport.is_authenticated())
        return open_session(transport, *arguments)

    assert host.connector.by_root("echo here").output.strip() == "here"
    monkeypatch.setattr(host.connector, "_open", counted)
    for module in (connector, remote_shell):
        monkeypatch.setattr(module, "open_session", seen)
    host.connector.client.close()
    asking = [gevent.spawn(host.connector.by_root, f"echo {n}") for n in range(3)]
    gevent.wait([gevent.spawn_later(0.01, lambda: None)])
    asking.append(gevent.spawn(host.connector.by_root, "echo 3"))
    live = gevent.spawn(host.run_shell_command, "echo live", _timeout=20)
    gevent.joinall([*asking, live], raise_error=True)
    assert [one.value.output.strip() for one in asking] == ["0", "1", "2", "3"]
    assert live.value[1].stdout_lines == ["live"]
    assert len(logins) == 1
    assert connected == [True, True]


def test_a_connection_that_breaks_while_something_is_changed_is_an_end(host):
    assert host.get_fact(Shown, command="echo here") == "here"
    host.connector.may_reconnect = False
    host.connector.client.close()
    with pytest.raises(HostFailed, match=r"\[box\] .*connection broke"):
        host.get_fact(Shown, command="echo back")


def test_a_command_whose_connection_is_cut_has_not_succeeded(host, sshd):
    gevent.spawn_later(0.5, sshd.stop)
    with pytest.raises(SSHException, match="the connection broke"):
        host.run_shell_command("sleep 5")


def test_a_connection_that_breaks_just_as_something_is_sent_is_reported_as_that(host, monkeypatch):
    """paramiko has not noticed it yet, and raises an EOFError."""

    def broken(_data: bytes) -> None:
        raise EOFError

    assert host.get_fact(Shown, command="echo here") == "here"
    monkeypatch.setattr(host.connector.client.get_transport().packetizer, "write_all", broken)
    with pytest.raises(SSHException, match="the connection broke"):
        host.run_shell_command("echo fine")
    host.connector.may_reconnect = False
    with pytest.raises(HostFailed, match=r"\[box\] .*connection broke"):
        host.get_fact(Shown, command="echo back")


# --- what is asked in a batch, and what live


@pytest.mark.parametrize("argument", [{"_timeout": 5}, {"_get_pty": True}, {"_stdin": "given"}])
def test_what_waits_for_something_of_its_own_runs_live(host, monkeypatch, argument):
    counted = Counted(host, monkeypatch)
    command = "cat" if "_stdin" in argument else "echo given"
    assert host.get_fact(Shown, command=command, **argument).strip() == "given"
    assert (counted.batches, counted.live) == ([], [command])


def test_a_fact_with_a_time_limit_is_late_after_it(host):
    with pytest.raises(PyinfraError):
        host.get_fact(Shown, command="sleep 30", _timeout=1)


# As pyinfra would wrap it, and what it must show.
WRAPPED = {
    "by sudo": ({"_sudo": True}, "echo fine", "fine"),
    "by sudo to somebody": ({"_sudo": True, "_sudo_user": "nobody"}, "echo fine", "fine"),
    "in a folder": ({"_chdir": "/usr"}, "pwd", "/usr"),
    "in a folder by sudo": ({"_chdir": "/usr", "_sudo": True}, "pwd", "/usr"),
    "with variables": ({"_env": {"NAME": "it's $HOME"}}, 'echo "$NAME"', "it's $HOME"),
    "by another shell": ({"_shell_executable": "bash"}, "echo ${BASH_VERSION:+bash}", "bash"),
    "with another exit code": ({"_success_exit_codes": [3]}, "echo three; exit 3", "three"),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_wrapped_command_is_answered_in_a_batch(host, monkeypatch, how):
    arguments, command, shown = WRAPPED[how]
    counted = Counted(host, monkeypatch)
    assert host.get_fact(Shown, command=command, **arguments) == shown
    assert len(counted.batches) == 1
    assert counted.live == []


def test_a_command_that_fails_runs_again_to_say_why(host, monkeypatch):
    counted = Counted(host, monkeypatch)
    succeeded, output = host.run_shell_command("echo why >&2; exit 4")
    assert (succeeded, output.stderr_lines) == (False, ["why"])
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        host.get_fact(Shown, command="echo because >&2; exit 4")
    assert counted.live[-1] == "echo because >&2; exit 4"


def test_a_logins_output_is_in_no_answer_and_its_umask_in_no_file(hosts, tmp_path):
    host, *_ = hosts("box", prefix="echo Welcome; echo You have mail >&2; umask 077; ")
    succeeded, output = host.run_shell_command(f"umask; echo why >&2; mkdir {tmp_path}/made", _sudo=True)
    assert (succeeded, output.stdout_lines, output.stderr_lines) == (True, ["0022"], ["why"])
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o755
    assert host.get_fact(Shown, command="umask", _timeout=20) == "0022"
    assert host.get_fact(Shown, command="umask", _sudo=True) == "0022"


def test_a_server_that_allows_two_sessions_is_enough_whatever_runs_live(hosts, tmp_path):
    """Slipway itself sets MaxSessions 2."""
    host, *_ = hosts("box", max_sessions=2)
    seen: list[Any] = []

    def live(n: int) -> Callable[[], OperationMeta]:
        return lambda: look(
            name=f"Look {n}",
            seen=seen,
            what=lambda: current_host.get_fact(Shown, command=f"sleep 0.1; echo {n}", _timeout=20),
        )

    evaluate(host, *map(live, range(5)))
    assert sorted(seen) == [(str(n), str(n)) for n in range(5)]


def test_who_asks_while_the_shell_is_being_opened_gets_the_same_one(hosts, monkeypatch):
    host, *_ = hosts("box", max_sessions=2)
    opened, new_shell = [], host.connector._new_shell
    monkeypatch.setattr(host.connector, "_new_shell", lambda: opened.append(new_shell()) or opened[-1])
    asking = [gevent.spawn(host.connector.by_root, f"echo {n}") for n in range(3)]
    gevent.joinall(asking, raise_error=True)
    assert [one.value.output.strip() for one in asking] == ["0", "1", "2"]
    assert len(opened) == 1
    assert host.run_shell_command("echo one more", _timeout=20)[1].stdout_lines == ["one more"]


def test_a_command_that_never_ends_is_an_error_that_names_it(host, monkeypatch):
    limited(monkeypatch, command=1)
    with pytest.raises(HostFailed, match=r"\[box\] no end within 1 s: sleep 60"):
        host.run_shell_command("sleep 60")
    assert host.run_shell_command("sleep 0.1", _timeout=20)[0]
    with pytest.raises(TimeoutError, match=r"\[box\] no end within 1 s: sleep 60"):
        host.run_shell_command("sleep 60", _timeout=1)
    with pytest.raises(HostFailed) as caught:
        host.run_shell_command(StringCommand("sleep 60 #", HiddenValue("s3cr3t")))
    assert "s3cr3t" not in str(caught.value)


def test_the_limits_of_a_host_are_multiplied_by_its_setting(host, monkeypatch):
    limited(monkeypatch, command=50, connect=3, handshake=7)
    host.data.timeout_scale = 2
    host.connector.connect()
    transport = host.connector.client.get_transport()
    assert [transport.banner_timeout, transport.auth_timeout] == [14, 14]
    host.data.timeout_scale = 0.02
    with pytest.raises(HostFailed, match=r"no end within 1 s: sleep 60; on a slow host raise timeout_scale"):
        host.run_shell_command("sleep 60")


def test_of_100_mb_of_output_the_beginning_and_the_end_are_kept(host):
    command = "echo first; head -c 100M /dev/zero | tr '\\0' x; echo; echo last"
    succeeded, output = host.run_shell_command(command)
    assert succeeded
    assert (output.stdout_lines[0], output.stdout_lines[-1]) == ("first", "last")
    assert "bytes left out" in output.stdout
    assert len(output.stdout) < 4 * connector.MAX_KEPT_BYTES


def test_output_that_is_not_utf8_is_shown_escaped(host):
    succeeded, output = host.run_shell_command("printf 'caf\\351\\n'; printf '\\377\\n' >&2")
    assert (succeeded, output.stdout, output.stderr) == (True, "caf�", "�")


def test_a_password_of_sudo_reaches_no_command_line(host):
    for arguments in ({"_sudo": True, "_sudo_password": "s3cr3t"}, {"_su_user": "root", "_su_password": "s3cr3t"}):
        with pytest.raises(PyinfraError, match="a password is required"):
            host.run_shell_command("true", **arguments)


def test_an_address_that_is_asked_for_after_the_connection_broke_is_reported_as_that(host):
    assert peer_address(host) == "127.0.0.1"
    host.connector.client.get_transport().sock.close()
    with pytest.raises(SSHException, match="the connection broke"):
        peer_address(host)
