"""What the engine makes of pyinfra, against a local `sh`: the same as pyinfra alone does, in fewer questions."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import gevent
import pytest
from paramiko import SSHException
from pyinfra import host as current_host
from pyinfra import inventory as all_hosts
from pyinfra.api import Config, FactBase, FunctionCommand, HiddenValue, Inventory, State, StringCommand, operation
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage
from pyinfra.api.util import get_operation_order_from_stack

from slipway.engine import connector, query_cache, run
from slipway.engine.connector import Connector, HostFailed
from slipway.engine.remote_shell import Question
from slipway.engine.run import Run
from slipway.facts.base import Fact
from support.limited import limited

Hosts = Callable[..., list[Host]]


class Shown(Fact[str]):
    """The output of a command."""

    def command(self, command: str) -> str:
        return command

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class Unlisted(FactBase[str]):
    """The same, of which nobody has said that it holds no secret."""

    def command(self, command: str) -> str:
        return command

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class Masked(Fact[str]):
    def command(self, secret: str) -> StringCommand:
        return StringCommand("echo", HiddenValue(secret), "| wc -c")

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


@pytest.fixture
def hosts(sshd) -> Iterator[Hosts]:
    """Connected hosts of one pyinfra state, by our connector."""
    states = []
    pyinfra_compat.prepare()

    def make(*names: str, **options: Any) -> list[Host]:
        server = sshd.start(**options)
        inventory = Inventory(([(name, dict(server)) for name in names], {}))
        for host in inventory:
            host.connector_cls = Connector
        config = Config()
        state = State(inventory, config, check_for_changes=False)
        pyinfra_compat.ctx_state.set(state)
        pyinfra_compat.ctx_config.set(config)
        pyinfra_compat.ctx_inventory.set(inventory)
        state.set_stage(StateStage.Connect)
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        states.append(state)
        run.start(state, Run(collects_notes=True))
        return list(inventory)

    yield make
    for state in states:
        disconnect_all(state)


@pytest.fixture
def host(hosts) -> Host:
    return hosts("box")[0]


def evaluate(host: Host, *described: Callable[[], OperationMeta]) -> list[bool]:
    """Describe operations and evaluate them side by side; returns which would change something."""
    with pyinfra_compat.using(host.state, host):
        operations = [describe() for describe in described]

    def one(meta: OperationMeta) -> None:
        with host.connector.batches.asking():
            pyinfra_compat.evaluate(host.state, host, meta._hash)

    with host.connector.batches.asking():
        running = [gevent.spawn(one, meta) for meta in operations]
        gevent.sleep(0)
    gevent.joinall(running, raise_error=True, timeout=30)
    return [bool(meta._maybe_is_change) for meta in operations]


def execute(host: Host, describe: Callable[[], OperationMeta]) -> bool:
    """Describe one operation and run it."""
    with pyinfra_compat.using(host.state, host):
        meta = describe()
        host.state.current_stage, host.state.is_executing = StateStage.Execute, True
        done = run_host_op(host.state, host, meta._hash)
    host.state.current_stage, host.state.is_executing = StateStage.Prepare, False
    return bool(done)


class Counted:
    """Writes down the questions of each batch, and what ran live."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[str]] = []
        self.live: list[str] = []
        ask, run = host.connector._ask_shell, host.connector._run

        def counted_ask(questions: list[Question]) -> Any:
            self.batches.append([question.command for question in questions])
            return ask(questions)

        def counted_run(command: StringCommand, arguments: dict[str, Any]) -> Any:
            self.live.append(command.get_raw_value())
            return run(command, arguments)

        monkeypatch.setattr(host.connector, "_ask_shell", counted_ask)
        monkeypatch.setattr(host.connector, "_run", counted_run)


# --- each operation has its own state


@operation()
def look(seen: list[Any], what: Callable[[], Any]) -> Any:
    """Looks twice: before and after others had their turn."""
    first = what()
    current_host.get_fact(Shown, command=f"echo {len(seen)}-{id(what)}")
    seen.append((first, what()))
    yield from ()


def test_operations_that_are_evaluated_side_by_side_go_out_in_one_batch(host, monkeypatch):
    counted, seen = Counted(host, monkeypatch), []
    evaluate(host, *(lambda n=n: look(name=f"Look {n}", seen=seen, what=lambda: n) for n in range(9)))
    assert len(seen) == 9
    assert [len(batch) for batch in counted.batches] == [9]
    assert counted.live == []


def test_each_operation_sees_the_defaults_of_its_own_deploy(host):
    seen: list[Any] = []

    def described(port: int) -> Callable[[], Any]:
        @deploy(f"Part {port}", data_defaults={"port": port})
        def part() -> OperationMeta:
            return look(name="Look at the port", seen=seen, what=lambda: current_host.data.port)

        return part

    evaluate(host, *(described(port) for port in (80, 443, 22)))
    assert sorted(seen) == [(22, 22), (80, 80), (443, 443)]


def test_each_operation_knows_its_own_hash(host):
    seen: list[Any] = []
    evaluate(
        host,
        *(lambda n=n: look(name=f"Look {n}", seen=seen, what=lambda: current_host.current_op_hash) for n in range(3)),
    )
    assert len({first for first, _ in seen}) == 3
    assert all(first and first == second for first, second in seen)


def test_facts_take_the_arguments_of_their_own_operation_alone(host):
    seen: list[Any] = []

    def described(n: int) -> Callable[[], OperationMeta]:
        return lambda: look(
            name=f"Look {n}",
            seen=seen,
            what=lambda: current_host.get_fact(Shown, command="echo $NUMBER"),
            _env={"NUMBER": str(n)},
        )

    evaluate(host, *map(described, range(3)))
    assert sorted(seen) == [("0", "0"), ("1", "1"), ("2", "2")]


def test_facts_of_another_host_take_no_arguments_of_the_operation_at_hand(hosts):
    here, there = hosts("here", "there")
    seen: list[Any] = []
    evaluate(
        here,
        lambda: look(
            name="Look at the other",
            seen=seen,
            what=lambda: all_hosts.get_host("there").get_fact(Shown, command="echo ${NUMBER-none}"),
            _env={"NUMBER": "1"},
        ),
    )
    assert seen == [("none", "none")]
    assert there.current_op_hash is None


def test_an_operation_that_is_called_in_another_is_refused_as_pyinfra_does(host):
    @operation()
    def outer() -> Any:
        look(seen=[], what=lambda: 0)
        yield "true"

    with pytest.raises(pyinfra_compat.UnexpectedExternalError) as caught:
        evaluate(host, lambda: outer(name="Outer"))
    assert "Operation called within another operation" in str(caught.value.exception)


def test_an_operation_that_fails_releases_the_others(host):
    seen: list[Any] = []

    @operation()
    def fails() -> Any:
        current_host.get_fact(Shown, command="echo first")
        raise PyinfraError("this can't be")
        yield

    with pytest.raises(PyinfraError, match="this can't be"):
        evaluate(
            host,
            lambda: fails(name="Fail"),
            lambda: look(
                name="Look", seen=seen, what=lambda: current_host.get_fact(Shown, command=f"echo {len(seen)}")
            ),
        )
    gevent.sleep(0.5)
    assert seen == [("0", "0")]


# --- what is known is forgotten by any change


@operation()
def change(command: str) -> Any:
    yield command


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


def test_a_connection_that_breaks_just_as_something_is_sent_is_told_as_that(host, monkeypatch):
    """paramiko has not noticed it yet, and raises what elsewhere stands for a user who has left."""

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


def test_what_a_login_prints_is_in_no_answer_and_its_umask_in_no_file(hosts, tmp_path):
    host, *_ = hosts("box", prefix="echo Welcome; echo You have mail >&2; umask 077; ")
    succeeded, output = host.run_shell_command(f"umask; echo why >&2; mkdir {tmp_path}/made", _sudo=True)
    assert (succeeded, output.stdout_lines, output.stderr_lines) == (True, ["0022"], ["why"])
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o755
    assert host.get_fact(Shown, command="umask", _timeout=20) == "0022"
    assert host.get_fact(Shown, command="umask", _sudo=True) == "0022"


def test_a_server_that_allows_two_sessions_is_enough_whatever_runs_live(hosts, tmp_path):
    """MaxSessions 2 is what Slipway itself sets."""
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


def test_a_command_that_never_ends_is_an_error_that_names_it(host, monkeypatch):
    limited(monkeypatch, command=1)
    with pytest.raises(HostFailed, match=r"\[box\] no end within 1 s: sleep 60"):
        host.run_shell_command("sleep 60")
    assert host.run_shell_command("sleep 0.1", _timeout=20)[0]
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


def test_what_is_no_utf8_is_shown_as_that(host):
    succeeded, output = host.run_shell_command("printf 'caf\\351\\n'; printf '\\377\\n' >&2")
    assert (succeeded, output.stdout, output.stderr) == (True, "caf�", "�")


def test_a_password_of_sudo_reaches_no_command_line(host):
    for arguments in ({"_sudo": True, "_sudo_password": "s3cr3t"}, {"_su_user": "root", "_su_password": "s3cr3t"}):
        with pytest.raises(PyinfraError, match="a password is required"):
            host.run_shell_command("true", **arguments)


# --- what is remembered for the next run


def test_only_facts_that_say_so_are_remembered_and_none_with_a_secret(host):
    host.get_fact(Shown, command="echo kept")
    host.get_fact(Unlisted, command="echo s3cr3t-1")
    host.get_fact(Masked, secret="s3cr3t-2")
    host.get_fact(Shown, command="echo $TOKEN", _env={"TOKEN": HiddenValue("s3cr3t-3")})
    host.get_fact(Shown, command="echo $TOKEN", _env={"TOKEN": "s3cr3t-4"})
    assert [question.command for question in host.connector.to_remember] == ["echo kept"]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


KEY = ("lab", "deploy.py", "box")
KEPT = [Question("echo 'it''s'\n", by_sudo=True), Question("id", by_sudo=False)]


def test_questions_are_kept_in_a_file_of_the_users_alone_and_never_an_answer(cache):
    query_cache.keep(KEY, KEPT)
    assert query_cache.recall(KEY, by_sudo=True) == KEPT
    assert query_cache.recall(KEY, by_sudo=False) == KEPT[1:]
    assert query_cache.recall((*KEY, "other"), by_sudo=True) == []
    [file] = (path for path in cache.rglob("*") if path.is_file())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text()) == [[q.command, q.by_sudo, q.subjects] for q in KEPT]


@pytest.mark.parametrize("text", ["", "{", "null", "3", '["echo"]', '[["echo"]]', '{"a": 1}', "\x00", "[[1, 2, 3, 4]]"])
def test_a_memory_that_is_broken_is_none(cache, text):
    query_cache.keep(KEY, KEPT)
    [file] = (path for path in cache.rglob("*") if path.is_file())
    file.write_text(text)
    assert query_cache.recall(KEY, by_sudo=True) == []
    query_cache.keep(KEY, KEPT)
    assert query_cache.recall(KEY, by_sudo=True) == KEPT


def test_a_memory_that_others_could_write_to_is_none(cache):
    """Root on the host runs it."""
    query_cache.keep(KEY, KEPT)
    [file] = (path for path in cache.rglob("*") if path.is_file())
    file.chmod(0o622)
    assert query_cache.recall(KEY, by_sudo=True) == []
    if os.geteuid() == 0:
        file.chmod(0o600)
        os.chown(file, 65534, -1)
        assert query_cache.recall(KEY, by_sudo=True) == []


def test_a_memory_that_can_not_be_kept_is_no_error(cache):
    cache.write_text("a file where a folder should be")
    query_cache.keep(KEY, KEPT)
    assert query_cache.recall(KEY, by_sudo=True) == []


def test_what_is_remembered_is_asked_at_once_and_not_again(host, monkeypatch):
    counted = Counted(host, monkeypatch)
    host.connector.batches.fetch([Question("echo a", False), Question("echo b", False)])
    assert [host.get_fact(Shown, command=f"echo {name}") for name in "ab"] == ["a", "b"]
    assert counted.batches == [["echo a", "echo b"]]


def test_what_is_remembered_and_has_no_answer_any_more_does_no_harm(host, monkeypatch):
    from slipway.engine.connections import _try_fetch

    limited(monkeypatch, answer=1)
    _try_fetch(host.connector, [Question("echo a", False), Question("sleep 60", False)])
    assert host.get_fact(Shown, command="echo a") == "a"


# --- uploads


def upload(host: Host, path: Path, content: bytes, **arguments: Any) -> bool:
    return host.put_file(io.BytesIO(content), str(path), **arguments)


def test_an_upload_appears_at_once_with_the_mode_and_owner_that_were_there(host, tmp_path):
    folder = tmp_path / "a folder's"
    folder.mkdir()
    file = folder / "it's a file"
    content = bytes(range(256)) * 5000
    assert upload(host, file, content)
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 12346)
    before = file.stat()
    with file.open("rb") as old:
        assert upload(host, file, b"new\n", _sudo=True)
        assert old.read() == content, "it was written over, and half of it was seen"
    after = file.stat()
    assert file.read_bytes() == b"new\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert list(folder.iterdir()) == [file]


def test_an_upload_that_fails_leaves_what_was_there_and_nothing_else(host, tmp_path):
    missing = tmp_path / "missing/file"
    assert not upload(host, missing, b"new")
    occupied = tmp_path / "folder"
    occupied.mkdir()
    (occupied / "kept").touch()
    assert not upload(host, occupied, b"new")
    assert (occupied / "kept").exists()
    assert list(tmp_path.iterdir()) == [occupied]


def test_an_upload_to_a_link_goes_to_what_it_leads_to(host, tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    assert upload(host, tmp_path / "link", b"new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_an_upload_goes_through_a_name_that_nobody_can_guess_and_nobody_else_can_read(host, tmp_path):
    """Looks at the folder all the time of an upload."""
    seen: dict[str, int] = {}
    watching = gevent.spawn(_watch, tmp_path, seen)
    for n in range(5):
        assert upload(host, tmp_path / "file", bytes([n]) * 2**21)
    watching.kill()
    new = {name: mode for name, mode in seen.items() if name != "file"}
    assert new, "this test would not notice anything"
    assert len(new) == len({name.removeprefix("file.") for name in new})
    assert all(name.startswith("file.") and len(name) == len("file.") + 6 for name in new)


def _watch(folder: Path, seen: dict[str, int]) -> None:
    while True:
        for entry in os.scandir(folder):
            try:
                seen.setdefault(entry.name, stat.S_IMODE(entry.stat().st_mode))
            except OSError:
                continue
        gevent.sleep(0.001)


@deploy("With defaults", data_defaults={"of_deploy": "deploy", "of_all": "deploy"})
def seen_in_a_deploy(seen: dict[str, Any]) -> None:
    seen |= {name: current_host.data.get(name) for name in ("of_deploy", "of_all", "missing")}


def test_data_of_a_host_come_from_the_strongest_source_as_pyinfra_has_it():
    pyinfra_compat.prepare()
    everywhere = {"of_all": "all", "of_group": "all", "of_host": "all", "of_override": "all", "a_list": [1]}
    inventory = Inventory(
        ([("box", {"of_host": "host", "of_override": "host"})], everywhere),
        web=(["box"], {"of_group": "group", "of_host": "group"}),
        override_data={"of_override": "override"},
    )
    state = State(inventory, Config(), check_for_changes=False)
    host = inventory.get_host("box")
    found = [getattr(host.data, f"of_{name}") for name in ("all", "group", "host", "override")]
    assert found == ["all", "group", "host", "override"]
    host.data.a_list.append(2)
    assert host.data.a_list == [1]
    host.data.of_host = "set"
    assert host.data.of_host == "set"
    with pytest.raises(AttributeError, match="Host `box` has no data `missing`"):
        _ = host.data.missing
    seen: dict[str, Any] = {}
    with pyinfra_compat.ctx_state.use(state), pyinfra_compat.using(state, host):
        seen_in_a_deploy(seen)
    assert seen == {"of_deploy": "deploy", "of_all": "all", "missing": None}


DEPLOY = """
def call(function, *arguments):
    return function(*arguments)


orders = call(both, "deploy.py")
"""


def test_operations_have_the_order_that_pyinfra_gives_them():
    class Deploying:
        current_op_file_number = 3

        def __init__(self, file: str | None) -> None:
            self.current_deploy_filename = file

    def both(file: str | None) -> list[list[int]]:
        return [order(Deploying(file)) for order in (pyinfra_compat.order_of_operation, get_operation_order_from_stack)]

    in_a_deploy: dict[str, Any] = {"both": both}
    exec(compile(DEPLOY, "deploy.py", "exec"), in_a_deploy)
    ours, theirs = in_a_deploy["orders"]
    assert ours == theirs
    assert len(ours) > 3
    for file in (None, "nowhere.py"):
        ours, theirs = both(file)
        assert ours == theirs
