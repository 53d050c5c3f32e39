"""Many read-only commands in one round trip: a shell on the host that stays, fed by its standard input.

A round trip over a distant link takes longer than most commands: what a plan asks goes out as one script. Each answer
comes back in a frame, between markers that nobody can guess. Half of the commands run beside the other half, and answer
on the standard error stream.
"""

from __future__ import annotations

import base64
import gzip
import re
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from textwrap import shorten

import gevent
from gevent.lock import RLock
from paramiko import SSHException, Transport

from slipway.engine import environment
from slipway.engine.ssh import open_session
from slipway.settings import limits
from slipway.settings.limits import Limits

# How much one command may print: a plan asks for a few lines each.
MAX_BYTES = 16 * 2**20
# Of a command that long a part shows which it is.
MAX_SHOWN = 200
# A connection that breaks may end its sessions a moment before it is seen to be broken.
LAST_WORD_SECONDS = 0.1
# What a distant server acknowledges before more may come (RFC 6928, ten segments), less what ssh adds: a longer script
# is compressed.
FIRST_FLIGHT_BYTES = 12_000
# Below, the work saved is not worth the second process.
MIN_TO_SHARE = 8
# cloud-init's disable_root_opts: a forced command of root's key, which then sleeps for 10 s.
# https://github.com/canonical/cloud-init/blob/main/cloudinit/ssh_util.py
USER_TO_BE = re.compile(r'Please login as the user "([^"\s]+)" rather than')


@dataclass(frozen=True)
class Question:
    """A command for `sh`, by the user who is logged in or, through sudo, by root. $1 is the number of the process that
    lasts as long as the connection does.

    `subjects` are its arguments, quoted for a shell, in place of that. Questions that differ in them alone are asked as
    one, about all of them, and each gets the whole answer: starting a program takes a host longer than what the program
    does.
    """

    command: str
    by_sudo: bool
    subjects: str = ""
    # What an error calls it, where that is not the command: it may hold a secret.
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        return shorten(self.shown or self.text, MAX_SHOWN)

    @property
    def text(self) -> str:
        return with_subjects(self.command, self.subjects) if self.subjects else self.command


def with_subjects(script: str, subjects: str) -> str:
    """A shell script with its arguments, which are quoted."""
    return f"set -- {subjects}\n{script}"


def merged(questions: Sequence[Question]) -> list[Question]:
    """For each question the one to ask, which may be the same for several."""
    subjects: dict[Question, list[str]] = {}
    for question in questions:
        subjects.setdefault(replace(question, subjects=""), []).append(question.subjects)
    return [replace(q, subjects=" ".join(subjects[replace(q, subjects="")])) for q in questions]


@dataclass(frozen=True)
class Answer:
    """The exit code of a command, and what it has printed."""

    code: int
    output: str

    @property
    def lines(self) -> list[str]:
        # Not splitlines: to a shell and to pyinfra only a newline ends a line.
        lines = self.output.split("\n")
        return lines[:-1] if lines[-1] == "" else lines


# Takes each answer as it comes.
Tell = Callable[[Question, Answer], None]


class NoAnswer(Exception):
    """A host that did not answer a question as it should; the text says which and how."""


class SudoRefused(NoAnswer):
    """A login without sudo, or by a password alone."""

    def __init__(self, said: str = "") -> None:
        super().__init__(said or "sudo is refused, or a password is required")


class NoShell(NoAnswer):
    """A login that runs no command of ours; the text has what it printed instead."""

    def __init__(self, said: str, why: str = "the login ran no command") -> None:
        """`said` is what it printed, in lines."""
        lines = [line.strip() for line in said.splitlines()]
        self.said = shorten("; ".join(line for line in lines if line), MAX_SHOWN)
        super().__init__(f"{why}; it printed: {self.said}" if self.said else f"{why}, and printed nothing")

    @property
    def user_to_be(self) -> str:
        """Whom it told to log in as: what cloud-init puts before root's key, "" where it says nothing like that."""
        found = USER_TO_BE.search(self.said)
        return found[1] if found else ""


def script(questions: Sequence[tuple[int, Question]], nonce: str, with_terminal: bool = False) -> str:
    """A shell script that answers numbered questions in frames, those by sudo after the others, `with_terminal` where
    it wants one."""
    own = [_framed(number, question, nonce) for number, question in questions if not question.by_sudo]
    roots = [_framed(number, question, nonce) for number, question in questions if question.by_sudo]
    steps = [_marker(nonce, "begin", 0), *own]
    if roots:
        # One sudo for all: each one is a login to PAM, and a line in the log.
        sudo = "sudo -H -n /bin/sh -s $1"
        if with_terminal:
            sudo = f"{{ {environment.with_terminal('sudo -H -n /bin/sh -s $shell')}; }}"
            steps.append("export shell=$1")
        steps += [f"{sudo} <<'{nonce}'", environment.inside(), *roots, nonce, _marker(nonce, "sudo", "$?")]
    return "\n".join(steps)


def _framed(number: int, question: Question, nonce: str) -> str:
    # Evaluated in a shell of its own: whatever is wrong with it, an exit or a syntax error, is wrong with it alone.
    return f"( eval {shlex.quote(question.text)} ) </dev/null 2>/dev/null\n{_marker(nonce, number, '$?')}"


def _marker(nonce: str, what: int | str, code: int | str) -> str:
    return f'printf "\\n%s %s %s\\n" {nonce} {what} "{code}"'


def compressed(text: str) -> str:
    """A script that does what `text` does, shorter on the way where `text` is long."""
    if len(text) <= FIRST_FLIGHT_BYTES:
        return text
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f'eval "$(echo {packed} | base64 -d | gzip -d)"'


class Frames:
    """The answers in a stream of bytes, as it comes."""

    def __init__(self, nonce: str) -> None:
        self._mark = f"\n{nonce} ".encode()
        self._bytes = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[tuple[str, Answer]]:
        """The frames that are complete with `data`: what is answered (a number, "begin" or "sudo"), and the answer."""
        self._bytes += data
        found: list[tuple[str, Answer]] = []
        while True:
            # A mark may have come in two parts.
            start = self._bytes.find(self._mark, max(0, self._searched - len(self._mark)))
            end = self._bytes.find(b"\n", start + len(self._mark)) if start >= 0 else -1
            if end < 0:
                self._searched = len(self._bytes) if start < 0 else start
                return found
            what, code = self._bytes[start + len(self._mark) : end].decode().split()
            found.append((what, Answer(int(code), self._bytes[:start].decode(errors="replace"))))
            del self._bytes[: end + 1]
            self._searched = 0

    @property
    def waiting_bytes(self) -> int:
        """How much of an answer that is not complete has come."""
        return len(self._bytes)

    @property
    def waiting(self) -> str:
        """What that is."""
        return self._bytes.decode(errors="replace")


class Shell:
    """A shell on a host, by one session of an ssh connection."""

    def __init__(self, transport: Transport, given: Limits | None = None, with_terminal: bool = False) -> None:
        """`given` are the host's limits, those that are shipped without; its sudo may want a terminal."""
        its = given or limits.SHIPPED
        self._answer_seconds, self._start_seconds = its.answer, its.handshake
        self._nonce, self._with_terminal = secrets.token_hex(12), with_terminal
        self._transport = transport
        self._channel = open_session(transport, its.session, self._answer_seconds)
        self._channel.settimeout(self._answer_seconds)
        # What follows is sent without waiting for the server's word that there is a shell. Standard error carries
        # answers; messages of the shell's own are nobody's.
        self._starting = gevent.spawn(self._start)
        self._to_send = "exec 3>&2 2>/dev/null; set -- $$\n"
        self._turn = RLock()
        self._has_begun = False
        self.is_open = True

    def ask(self, questions: Sequence[Question], tell: Tell = lambda *_: None) -> list[Answer]:
        """The answers to `questions`, in their order. Raises NoAnswer, SSHException; the shell is closed then, and some
        answers may have been told."""
        asked = merged(questions)
        once = [*dict.fromkeys(asked)]

        def tell_all(question: Question, answer: Answer) -> None:
            for one, its in zip(questions, asked, strict=True):
                if its == question:
                    tell(one, answer)

        with self._turn:
            try:
                answers = dict(zip(once, self._ask(once, tell_all), strict=True))
            except (OSError, EOFError) as error:
                self.close()
                raise SSHException("the connection broke") from error
            except BaseException:
                self.close()
                raise
        return [answers[question] for question in asked]

    def _ask(self, questions: Sequence[Question], tell: Tell) -> list[Answer]:
        gevent.sleep(0)  # lets the request for the shell go first
        numbered = list(enumerate(questions))
        share = numbered[1::2] if len(numbered) >= MIN_TO_SHARE else []
        rest = [one for one in numbered if one not in share] if share else numbered
        text = script(rest, self._nonce, self._with_terminal)
        if share:
            text = f"{{\n{script(share, self._nonce, self._with_terminal)}\n}} >&3 &\n{text}\nwait"
        self._channel.sendall(f"{self._to_send}{compressed(text)}\n".encode())
        self._to_send = ""
        frames = Frames(self._nonce)
        begun = [] if self._has_begun else self._begin(frames)
        reading = [gevent.spawn(self._read, self._channel.recv, rest, frames, begun, tell)]
        if share:
            reading.append(gevent.spawn(self._read, self._channel.recv_stderr, share, Frames(self._nonce), [], tell))
        gevent.joinall(reading, raise_error=True)
        answers: dict[int, Answer] = {}
        for greenlet in reading:
            answers |= greenlet.get()
        return [answers[number] for number, _ in numbered]

    def _begin(self, frames: Frames) -> list[tuple[str, Answer]]:
        """Read up to the first frame: what comes before is the login's. Returns the frames that came with it."""
        late = f"the login ran no command within {self._start_seconds} s ({limits.HINT})"
        deadline = time.monotonic() + self._start_seconds
        while data := self._receive(self._channel.recv, deadline):
            if found := frames.feed(data):
                self._has_begun = True
                return found
            # Who is told to log in as another waits before the end.
            if USER_TO_BE.search(frames.waiting):
                break
        said = frames.waiting + self._errors_there()
        raise NoShell(said, late) if data is None else NoShell(said)

    def _receive(self, receive: Callable[[int], bytes], deadline: float) -> bytes | None:
        """What comes next, nothing where the shell has ended, None where nothing comes. Raises SSHException."""
        data = None
        with gevent.Timeout(max(0, deadline - time.monotonic()), False):
            data = receive(2**16)
        if data == b"":
            gevent.sleep(LAST_WORD_SECONDS)
            if not self._transport.is_active():
                raise SSHException("the connection broke")
        return data

    def _read(
        self,
        receive: Callable[[int], bytes],
        questions: Sequence[tuple[int, Question]],
        frames: Frames,
        found: list[tuple[str, Answer]],
        tell: Tell,
    ) -> dict[int, Answer]:
        """Read the answers to numbered questions; `found` are frames that have come already."""
        answers = {}
        waiting = {number: question for number, question in questions}
        order = [n for n, q in questions if not q.by_sudo] + [n for n, q in questions if q.by_sudo]
        ends = {"sudo"} if any(question.by_sudo for _, question in questions) else set()
        deadline = time.monotonic() + self._answer_seconds
        while True:
            for what, answer in found:
                deadline = time.monotonic() + self._answer_seconds
                if what == "sudo":
                    ends.clear()
                    if waiting:
                        raise SudoRefused
                elif what != "begin":
                    answers[int(what)] = answer
                    tell(waiting.pop(int(what)), answer)
            if not waiting and not ends:
                return answers
            about = next((str(waiting[n]) for n in order if n in waiting), "the end of sudo")
            if frames.waiting_bytes > MAX_BYTES:
                raise NoAnswer(f"more than {MAX_BYTES // 2**20} MiB of output: {about}")
            data = self._receive(receive, deadline)
            if data is None:
                raise NoAnswer(f"no answer within {self._answer_seconds} s: {about}; {limits.HINT}")
            if not data:
                raise NoAnswer(f"the shell ended: {about}")
            found = frames.feed(data)

    def _errors_there(self) -> str:
        """What has come on standard error and was not read."""
        found = b""
        while self._channel.recv_stderr_ready():
            found += self._channel.recv_stderr(2**16)
        return found.decode(errors="replace")

    def _start(self) -> None:
        # `ask` reports the error.
        with suppress(SSHException, OSError, EOFError):
            self._channel.exec_command(environment.shell())

    def close(self) -> None:
        self.is_open = False
        with suppress(OSError, EOFError):
            self._channel.close()
