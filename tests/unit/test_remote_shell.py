"""The persistent shell: whatever a command does, each command gets its own answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gevent
import paramiko
import pytest

from slipway.engine import remote_shell
from slipway.engine.remote_shell import Answer, Frames, NoAnswer, NoShell, Question, Shell, script
from slipway.settings.limits import HINT
from support.limited import limited

# Enough for a share of them to run beside the rest.
MANY = remote_shell.MIN_TO_SHARE * 3
Connect = Callable[..., paramiko.Transport]


@pytest.fixture
def connect(sshd) -> Iterator[Connect]:
    clients = []

    def connect(**options: object) -> paramiko.Transport:
        server = sshd.start(**options)
        client = paramiko.SSHClient()
        client.load_host_keys(server["ssh_known_hosts_file"])
        client.connect(
            server["ssh_hostname"],
            server["ssh_port"],
            "root",
            key_filename=server["ssh_key"],
            allow_agent=False,
            look_for_keys=False,
        )
        clients.append(client)
        transport = client.get_transport()
        assert transport
        return transport

    yield connect
    for client in clients:
        client.close()


def own(*commands: str) -> list[Question]:
    return [Question(command, by_sudo=False) for command in commands]


def told(transport: paramiko.Transport, *commands: str) -> str:
    """The error for commands without an answer."""
    asked = Shell(transport)
    with pytest.raises(NoAnswer) as caught:
        asked.ask(own(*commands))
    assert not asked.is_open
    return str(caught.value)


def test_answers_come_in_the_order_of_the_questions_with_their_exit_codes(connect):
    asked = Shell(connect())
    for count in (1, 2, MANY):
        questions = [Question(f"echo {n}; exit {n}", by_sudo=n % 3 == 0) for n in range(count)]
        assert asked.ask(questions) == [Answer(n, f"{n}\n") for n in range(count)]


@pytest.mark.parametrize("by_sudo", [False, True])
def test_each_answer_is_told_as_it_comes_to_each_who_asked(connect, by_sudo):
    told_of: list[tuple[Question, Answer]] = []
    script = "for word do echo $word; done"
    early = [Question(script, by_sudo, word) for word in ("one", "two")]
    late = [Question(f"sleep 2; echo {n}", by_sudo) for n in range(2)]
    asking = gevent.spawn(Shell(connect()).ask, [*early, *late], lambda *both: told_of.append(both))
    with gevent.Timeout(10):
        while not told_of:
            gevent.sleep(0.01)
    assert told_of == [(question, Answer(0, "one\ntwo\n")) for question in early]
    assert asking.get(timeout=10) == [answer for _, answer in told_of]
    assert [question for question, _ in told_of] == [*early, *late]


# Each is asked between two others, which must not notice it.
ODD = {
    "a syntax error": ("if then (", Answer(2, "")),
    "an exit": ("echo before; exit 7; echo after", Answer(7, "before\n")),
    "an option of the shell": ("set -e; set -u; false; echo after", Answer(1, "")),
    "another directory and variable": ("cd /; export LEFT=behind; trap 'echo bye' EXIT", Answer(0, "bye\n")),
    "a shell that is another": ("exec sleep 0", Answer(0, "")),
    "the standard input": ("cat; read line; echo $?", Answer(0, "1\n")),
    "output without a newline": ("printf 'no newline'", Answer(0, "no newline")),
    "output of newlines alone": ("printf '\\n\\n'", Answer(0, "\n\n")),
    "no output": ("true", Answer(0, "")),
    "quotes of every kind": ("""echo "it's" '"$HOME"' \\\\ `echo back`""", Answer(0, 'it\'s "$HOME" \\ back\n')),
    "several lines with a document": ("cat <<END\n$((1 + 1))\nEND\necho end", Answer(0, "2\nend\n")),
    "a comment at its end": ("echo shown # not", Answer(0, "shown\n")),
    "what is no UTF-8": ("printf 'caf\\351 \\377\\n'", Answer(0, "caf� �\n")),
    "bytes of zero": ("printf 'a\\0b\\n'", Answer(0, "a\0b\n")),
    "errors": ("echo wrong >&2; nosuchcommand; echo right", Answer(0, "right\n")),
    "what looks like an answer": (
        "printf '\\n0123456789abcdef01234567 0 0\\n'",
        Answer(0, "\n" + "0123456789abcdef01234567 0 0\n"),
    ),
}


@pytest.mark.parametrize("most", [0, remote_shell.FIRST_FLIGHT_BYTES], ids=["compressed", "as it is"])
@pytest.mark.parametrize("by_sudo", [False, True], ids=["by the user", "by sudo"])
@pytest.mark.parametrize("what", ODD)
def test_an_odd_command_is_answered_and_no_other_notices_it(connect, monkeypatch, what, by_sudo, most):
    monkeypatch.setattr(remote_shell, "FIRST_FLIGHT_BYTES", most)
    command, answer = ODD[what]
    asked = Shell(connect())
    other = Question("echo $PWD ${LEFT-clean} $-; false | true", by_sudo)
    undisturbed = asked.ask([other])[0]
    assert "clean" in undisturbed.output
    for others in (1, MANY // 2):
        answers = asked.ask([*[other] * others, Question(command, by_sudo), *[other] * others])
        assert answers.pop(others) == answer
        assert answers == [undisturbed] * others * 2


def test_lines_end_at_newlines_alone():
    assert Answer(0, "a\x0bb\x0cc\x85d\r\n\ne").lines == ["a\x0bb\x0cc\x85d\r", "", "e"]
    assert Answer(0, "").lines == []


def test_frames_are_found_however_the_bytes_come():
    nonce = "0123abcd"
    stream = b"".join(
        b"%s\n0123abcd %d 0\n" % (text, n) for n, text in enumerate([b"a\n", b"", b"\n\n0123abc", b"\xff"])
    )
    wanted = [("0", Answer(0, "a\n")), ("1", Answer(0, "")), ("2", Answer(0, "\n\n0123abc")), ("3", Answer(0, "�"))]
    for size in range(1, len(stream) + 1):
        frames = Frames(nonce)
        found = [frame for at in range(0, len(stream), size) for frame in frames.feed(stream[at : at + size])]
        assert found == wanted
        assert frames.waiting_bytes == 0


def test_nobody_can_guess_where_an_answer_ends(connect):
    transport = connect()
    nonces = {Shell(transport)._nonce for _ in range(3)}
    assert len(nonces) == 3
    assert all(len(nonce) >= 24 for nonce in nonces)
    # It is no argument of a process, which a command could look at.
    answer = Shell(transport).ask(own("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; env"))[0]
    assert "exec sh" not in script([], "nonce")
    assert not any(nonce in answer.output for nonce in nonces)


def test_large_answers_come_whole(connect):
    asked = Shell(connect())
    sizes = [2**20 + n for n in range(MANY)]
    answers = asked.ask(own(*(f"head -c {size} /dev/zero | tr '\\0' x" for size in sizes)))
    assert [len(answer.output) for answer in answers] == sizes


def test_100_mb_of_output_are_an_error_that_names_the_command(connect):
    said = told(connect(), "echo fine", "head -c 100M /dev/zero")
    assert said == "more than 16 MiB of output: head -c 100M /dev/zero"


@pytest.mark.parametrize("others", [0, MANY])
def test_a_command_that_never_ends_is_an_error_that_names_it(connect, others, monkeypatch):
    limited(monkeypatch, answer=1)
    transport = connect()
    said = told(transport, *["echo fine"] * others, "sleep 60", *["echo fine"] * others)
    assert said == f"no answer within 1 s: sleep 60; {HINT}"
    assert Shell(transport).ask(own("echo another"))[0].output == "another\n"


def test_an_error_shows_no_secret_and_no_long_command_in_full(connect, monkeypatch):
    limited(monkeypatch, answer=1)
    transport = connect()
    for question in (Question("sleep 60 # s3cr3t", False, shown="sleep 60 # ***"), *own(f"sleep 60 #{' long' * 1000}")):
        with pytest.raises(NoAnswer, match="sleep 60 #") as caught:
            Shell(transport).ask([question])
        assert "s3cr3t" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_a_command_that_prints_for_ever_is_late_too(connect, monkeypatch):
    limited(monkeypatch, answer=1)
    assert told(connect(), "while sleep 0.1; do echo more; done").startswith("no answer within 1 s: while sleep")


def test_many_commands_may_take_longer_than_one(connect, monkeypatch):
    limited(monkeypatch, answer=1)
    began = time.monotonic()
    assert len(Shell(connect()).ask(own(*(f"sleep 0.3; : {n}" for n in range(5))))) == 5
    assert time.monotonic() - began > 1, "this test would not notice anything"


def test_sudo_that_is_refused_is_reported_with_a_hint_for_the_user(connect):
    from slipway.engine.errors import HINTS

    with pytest.raises(NoAnswer) as caught:
        Shell(connect(sudo="no-sudo")).ask([*own("echo fine"), Question("id", by_sudo=True)])
    assert any(sign in str(caught.value) for sign in HINTS)


def test_a_shell_that_is_killed_is_an_error_that_names_what_was_asked(connect):
    transport = connect()
    assert told(transport, "echo fine", "kill -9 $$") == "the shell ended: kill -9 $$"
    assert Shell(transport).ask(own("echo another"))[0].output == "another\n"


def test_a_connection_that_breaks_is_reported_as_that(connect, sshd):
    asked = Shell(connect())
    asked.ask(own("true"))
    sshd.stop()
    with pytest.raises(paramiko.SSHException, match="the connection broke"):
        asked.ask(own("echo fine"))
    assert not asked.is_open


def test_a_greeting_of_the_login_shell_is_in_no_answer(connect):
    greeting = "echo Welcome; echo 'You have mail' >&2; "
    asked = Shell(connect(prefix=greeting))
    for _ in range(2):
        assert asked.ask(own(*["echo fine"] * MANY)) == [Answer(0, "fine\n")] * MANY


# What a login does instead of a command, and what is told of it.
NO_SHELLS = {
    "a shell for nobody": ("echo This account is currently not available.; exit 1; ", "not available."),
    "sshd's own word": (
        "echo Password change required but no TTY available. >&2; exit 1; ",
        "Password change required",
    ),
    "nothing": ("exit 0; ", "and printed nothing"),
    "a menu": ("echo '1 restart'; echo '2 quit'; read choice; sleep 60; ", "1 restart; 2 quit"),
    "a forced command that waits": (
        'echo \'Please login as the user "debian" rather than the user "root".\'; echo; sleep 60; ',
        'Please login as the user "debian" rather than the user "root".',
    ),
}


@pytest.mark.parametrize("what", NO_SHELLS)
def test_a_login_that_runs_no_command_is_reported_in_its_own_words(connect, monkeypatch, what):
    limited(monkeypatch, handshake=2)
    prefix, said = NO_SHELLS[what]
    for count in (1, MANY):
        asked = Shell(connect(prefix=prefix))
        began = time.monotonic()
        with pytest.raises(NoShell) as caught:
            asked.ask(own(*["true"] * count))
        assert "the login ran no command" in str(caught.value)
        assert said in str(caught.value)
        assert caught.value.user_to_be == ("debian" if "debian" in said else "")
        assert time.monotonic() - began < 5


def test_a_background_process_blocks_nobody(connect, monkeypatch):
    limited(monkeypatch, answer=5)
    asked = Shell(connect())
    for _ in range(2):
        questions = own(*["sleep 20 & echo started"] * MANY)
        assert asked.ask(questions) == [Answer(0, "started\n")] * MANY


def test_a_long_script_takes_one_flight(connect, monkeypatch):
    sent: list[int] = []
    original = paramiko.Channel.sendall
    monkeypatch.setattr(paramiko.Channel, "sendall", lambda self, data: (sent.append(len(data)), original(self, data)))
    asked = own(*(f"echo {number}: {'what a plan asks ' * 20}" for number in range(MANY * 4)))
    assert len(script(list(enumerate(asked)), "nonce")) > 2 * remote_shell.FIRST_FLIGHT_BYTES
    answers = Shell(connect()).ask(asked)
    assert [answer.output.partition(":")[0] for answer in answers] == [str(number) for number in range(MANY * 4)]
    assert sum(sent) < remote_shell.FIRST_FLIGHT_BYTES


def test_concurrent_queries_take_turns(connect):
    import gevent

    asked = Shell(connect())
    asking = [gevent.spawn(asked.ask, own(*[f"echo {n}"] * MANY)) for n in range(5)]
    gevent.joinall(asking, raise_error=True)
    for n, greenlet in enumerate(asking):
        assert greenlet.get() == [Answer(0, f"{n}\n")] * MANY


def test_commands_know_the_persistent_process(connect):
    first, by_root = Shell(connect()).ask([Question("echo $1", False), Question("echo $1", True)])
    assert first == by_root
    assert first.output.strip().isdigit()
