"""Many read-only commands in one round trip: a shell on the host that stays, fed by its standard input.

A round trip over a distant link takes longer than most commands: what a plan asks goes out as one script. Each answer
comes back in a frame, between markers that nobody can guess. Half of the commands run beside the other half, and answer
on the standard error stream.
"""

from __future__ import annotations

import base64
import gzip
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


class NoAnswer(Exception):
    """A host that did not answer a question as it should; the text says which and how."""


def script(questions: Sequence[tuple[int, Question]], nonce: str) -> str:
    """A shell script that answers numbered questions in frames, those by sudo after the others."""
    own = [_framed(number, question, nonce) for number, question in questions if not question.by_sudo]
    roots = [_framed(number, question, nonce) for number, question in questions if question.by_sudo]
    steps = [_marker(nonce, "begin", 0), *own]
    if roots:
        # One sudo for all: each one is a login to PAM, and a line in the log.
        steps += [f"sudo -H -n sh -s $1 <<'{nonce}'", *roots, nonce, _marker(nonce, "sudo", "$?")]
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


class Shell:
    """A shell on a host, by one session of an ssh connection."""

    def __init__(self, transport: Transport, given: Limits | None = None) -> None:
        """`given` are the host's limits, those that are shipped without."""
        its = given or limits.SHIPPED
        self._answer_seconds = its.answer
        self._nonce = secrets.token_hex(12)
        self._transport = transport
        self._channel = open_session(transport, its.session, self._answer_seconds)
        self._channel.settimeout(self._answer_seconds)
        # What follows is sent without waiting for the server's word that there is a shell. Standard error carries
        # answers; messages of the shell's own are nobody's.
        self._starting = gevent.spawn(self._start)
        self._to_send = "exec 3>&2 2>/dev/null; set -- $$\n"
        self._turn = RLock()
        self.is_open = True

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to `questions`, in their order. Raises NoAnswer, SSHException; the shell is closed then."""
        asked = merged(questions)
        once = [*dict.fromkeys(asked)]
        with self._turn:
            try:
                answers = dict(zip(once, self._ask(once), strict=True))
            except (OSError, EOFError) as error:
                self.close()
                raise SSHException("the connection broke") from error
            except BaseException:
                self.close()
                raise
        return [answers[question] for question in asked]

    def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        gevent.sleep(0)  # lets the request for the shell go first
        numbered = list(enumerate(questions))
        share = numbered[1::2] if len(numbered) >= MIN_TO_SHARE else []
        rest = [one for one in numbered if one not in share] if share else numbered
        text = script(rest, self._nonce)
        if share:
            text = f"{{\n{script(share, self._nonce)}\n}} >&3 &\n{text}\nwait"
        self._channel.sendall(f"{self._to_send}{compressed(text)}\n".encode())
        self._to_send = ""
        reading = [gevent.spawn(self._read, self._channel.recv, rest)]
        if share:
            reading.append(gevent.spawn(self._read, self._channel.recv_stderr, share))
        gevent.joinall(reading, raise_error=True)
        answers: dict[int, Answer] = {}
        for greenlet in reading:
            answers |= greenlet.get()
        return [answers[number] for number, _ in numbered]

    def _read(self, receive: Callable[[int], bytes], questions: Sequence[tuple[int, Question]]) -> dict[int, Answer]:
        frames, answers = Frames(self._nonce), {}
        waiting = {number: question for number, question in questions}
        order = [n for n, q in questions if not q.by_sudo] + [n for n, q in questions if q.by_sudo]
        ends = {"sudo"} if any(question.by_sudo for _, question in questions) else set()
        deadline = time.monotonic() + self._answer_seconds
        while waiting or ends:
            about = next((str(waiting[n]) for n in order if n in waiting), "the end of sudo")
            late = NoAnswer(f"no answer within {self._answer_seconds} s: {about}; {limits.HINT}")
            with gevent.Timeout(max(0, deadline - time.monotonic()), late):
                data = receive(2**16)
            if not data:
                gevent.sleep(LAST_WORD_SECONDS)
                if self._transport.is_active():
                    raise NoAnswer(f"the shell ended: {about}")
                raise SSHException("the connection broke")
            for what, answer in frames.feed(data):
                deadline = time.monotonic() + self._answer_seconds
                if what == "sudo":
                    ends.clear()
                    if waiting:
                        raise NoAnswer("sudo is refused, or a password is required")
                elif what != "begin":
                    answers[int(what)] = answer
                    del waiting[int(what)]
            if frames.waiting_bytes > MAX_BYTES:
                raise NoAnswer(f"more than {MAX_BYTES // 2**20} MiB of output: {about}")
        return answers

    def _start(self) -> None:
        # `ask` reports the error.
        with suppress(SSHException, OSError, EOFError):
            self._channel.exec_command("exec sh")

    def close(self) -> None:
        self.is_open = False
        with suppress(OSError, EOFError):
            self._channel.close()
