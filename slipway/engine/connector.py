"""Slipway's connection to a host: pyinfra's by ssh, with what is only read in batches.

It is what pyinfra calls a connector, and a drop-in for its own; plain pyinfra uses that.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterable, Sequence
from textwrap import shorten
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import RLock
from paramiko import AuthenticationException, Channel, SSHException, Transport
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.util import get_file_io
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command

from slipway.engine import environment, openssh, pyinfra_compat
from slipway.engine.batching import Batches
from slipway.engine.remote_shell import MAX_SHOWN, Answer, NoAnswer, Question, Shell, SudoRefused, Tell
from slipway.engine.ssh import broken_by_name, keep_alive, open_session, send_at_once, tell_when_broken
from slipway.engine.ssh_client import Client, HungUp
from slipway.engine.uploads import LINE_BYTES, Encoded, upload_script, with_input
from slipway.settings import limits
from slipway.settings.limits import Limits

# Of what a command prints this much is kept, of its beginning and of its end each.
MAX_KEPT_BYTES = 2**19
# After a login that the host has hung up on.
AGAIN_SECONDS = 1
# What can't be asked in a batch: it waits for something of its own, or has input.
LIVE = ("_timeout", "_stdin", "_get_pty")
# How a command is wrapped, beyond sudo to root.
WRAPPED = (
    *("_sudo_user", "_use_sudo_login", "_preserve_sudo_env", "_su_user", "_use_su_login", "_preserve_su_env"),
    *("_su_shell", "_doas", "_doas_user", "_dzdo", "_dzdo_user", "_chdir", "_env"),
)
# Not for the command, but for whoever runs it.
CONTROL = (*LIVE, "_success_exit_codes", "_retries", "_retry_delay", "_retry_until", "_temp_dir")

# What paramiko says of a host that ends a connection, or says nothing, while it is made.
IN_WORDS = {
    "EOF error": "the connection broke during the handshake",
    # paramiko's words while it logs in: no key was refused.
    "transport shut down or saw EOF": "the connection broke during the handshake",
    "No existing session": "the host accepted the connection but did not answer",
}


class HostFailed(PyinfraError):
    """A host that can't be asked any more, and why; the others can."""


class Connector(SSHConnector):
    def __init__(self, state: Any, host: Any) -> None:
        super().__init__(state, host)
        self.batches = Batches(self._ask)
        # What was asked, in order: by each operation, by its hash, and what may be asked first thing in the next run.
        self.asked_by: dict[str, dict[Question, None]] = {}
        self.to_remember: dict[Question, None] = {}
        # While something is being changed, a connection that breaks is an end.
        self.may_reconnect = True
        # Of the upload that is under way: the bytes sent, and all; (0, 0) for none.
        self.uploaded = (0, 0)
        # Set when the first connection is being made, or can't be.
        self.under_way = Event()
        self._shell: Shell | None = None
        # Its sudo is told `requiretty`.
        self._sudo_needs_terminal = False
        # One shell, and one command beside it, no more: the server has its limit (MaxSessions, tasks/ssh.py).
        self._opening, self._turn = RLock(), RLock()

    @property
    def limits(self) -> Limits:
        return limits.of_host(self.host)

    def connect(self) -> None:
        self._shell = None
        if self.client:
            self.client.close()
        try:
            super().connect()
        except ConnectError as error:
            words = [words for sign, words in IN_WORDS.items() if sign in str(error)]
            raise ConnectError(*words or error.args) from None
        send_at_once(self.host)
        keep_alive(self.host)
        tell_when_broken(self.host)

    def _connect(self) -> None:
        try:
            way = openssh.way(self.host.name, self.data)
        except ConnectError:
            self.under_way.set()
            raise
        try:
            try:
                self._open(way)
            except HungUp as error:
                # A busy host may drop a login that it accepts a moment later. After several keys it is MaxAuthTries,
                # and fail2ban counts each attempt.
                if not error.is_first:
                    raise
                gevent.sleep(AGAIN_SECONDS)
                self._open(way)
        except AuthenticationException as error:
            here = f"{way.user}@{way.hostname} (port {way.port})"
            raise ConnectError(f"Authentication error: {here}: {error}") from None

    def _open(self, way: openssh.Way) -> None:
        client = Client(way, self.data, self.limits)
        self.under_way.set()
        self.client = client  # type: ignore[assignment]  # pyinfra's own is another of paramiko's
        try:
            client.open()
        except BaseException:
            client.close()
            raise

    def prove_login(self) -> None:
        """Find out whether the login runs commands, as root too where it is to by sudo. Raises NoAnswer,
        ConnectError."""
        try:
            self._ask_shell([Question("true", by_sudo=bool(self.host.data.get("_sudo")))])
        except (SSHException, OSError) as error:
            raise ConnectError(str(error)) from None

    def has_user(self, name: str) -> bool:
        """Whether the host knows a user. Raises NoAnswer, ConnectError."""
        try:
            (answer,) = self._ask_shell([Question(f"getent passwd {shlex.quote(name)}", by_sudo=False)])
        except (SSHException, OSError) as error:
            raise ConnectError(str(error)) from None
        return answer.code == 0

    def disconnect(self) -> None:
        super().disconnect()
        if self.client:
            self.client.close()

    def run_shell_command(
        self, command: StringCommand | str, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command: that of a fact in a batch, if it can be; after any other all that is known of hosts is old."""
        if isinstance(command, str):
            command = StringCommand(command)
        fact = pyinfra_compat.fact_at_hand()
        if fact is None:
            try:
                return self._run(command, arguments)
            finally:
                pyinfra_compat.forget_all(self.state)
        if any(arguments.get(name) for name in LIVE):
            return self._run(command, arguments)
        question = _question(command, arguments, pyinfra_compat.script_of(fact))
        # A variable may be a secret whatever it is called.
        if pyinfra_compat.may_be_remembered(fact) and not question.shown and not arguments.get("_env"):
            self.to_remember[question] = None
        self.asked_by.setdefault(self.host.current_op_hash or "", {})[question] = None
        answer = self.batches.get(question)
        if answer.code not in (arguments.get("_success_exit_codes") or [0]):
            # Only now is it of interest what it says about that.
            return self._run(command, arguments)
        return True, CommandOutput([OutputLine("stdout", line) for line in answer.lines])

    @property
    def is_open(self) -> bool:
        """Whether the shell of the batches can be asked."""
        return bool(self._shell and self._shell.is_open)

    def by_root(self, script: str) -> Answer:
        """Run a script by the shell that lasts, as root. Raises HostFailed."""
        return self._ask([Question(script, by_sudo=bool(self.host.data.get("_sudo")))])[0]

    def _ask(self, questions: Sequence[Question], tell: Tell = lambda *_: None) -> list[Answer]:
        """Answers by the shell. Nothing is changed by them: where the connection has broken it is made anew, once."""
        asked = self.client
        try:
            try:
                return self._ask_shell(questions, tell)
            except (SSHException, OSError):
                if not self.may_reconnect:
                    raise
                self._reconnect(asked)
                return self._ask_shell(questions, tell)
        except (SSHException, OSError, NoAnswer, PyinfraError) as error:
            raise HostFailed(f"[{self.host.name}] {error}") from error

    def _reconnect(self, broken: Any) -> None:
        """Make the connection anew, unless who asked beside this one by the `broken` one has done it already."""
        # No session is opened before the login has ended: sshd would never answer that.
        with self._opening:
            if self.client is broken:
                pyinfra_compat.forget_all(self.state)
                self.connect()

    def _ask_shell(self, questions: Sequence[Question], tell: Tell = lambda *_: None) -> list[Answer]:
        # Who asks while another opens it gets the same one.
        with self._opening:
            if not self.is_open:
                if self._shell and not self.may_reconnect:
                    raise SSHException("the connection broke")
                self._shell = self._new_shell()
        assert self._shell
        try:
            return self._shell.ask(questions, tell)
        except SudoRefused:
            # What it says itself was nobody's answer.
            self._shell = self._new_shell()
            said = self._shell.ask([Question("sudo -H -n true 2>&1", by_sudo=False)])[0].output.strip()
            if environment.NEEDS_TERMINAL in said and not self._sudo_needs_terminal:
                self._sudo_needs_terminal = True
                self._shell.close()
                self._shell = self._new_shell()
                return self._shell.ask(questions, tell)
            raise SudoRefused(said) from None

    def _new_shell(self) -> Shell:
        return Shell(self._transport(), self.limits, self._sudo_needs_terminal)

    def _transport(self) -> Transport:
        transport = self.client.get_transport() if self.client else None
        if not transport or not transport.is_active():
            raise SSHException("the connection broke")
        return transport

    def _run(self, command: StringCommand, arguments: dict[str, Any]) -> tuple[bool, CommandOutput]:
        """Run a command by a session of its own. Raises SSHException, OSError, TimeoutError."""
        if arguments.get("_sudo_password") or arguments.get("_su_password"):
            # pyinfra would hand it over in a command line.
            raise PyinfraError(f"[{self.host.name}] sudo: a password is required")
        text, mark = _wrapped(command, arguments).get_raw_value(), secrets.token_hex(12)
        if arguments.get("_sudo") and self._sudo_needs_terminal:
            text = environment.with_terminal(text)
        seconds, which = arguments.get("_timeout"), shorten(command.get_masked_value(), MAX_SHOWN)
        late: Exception = TimeoutError(f"[{self.host.name}] no end within {seconds} s: {which}")
        if not seconds:
            seconds = self.limits.command
            late = HostFailed(f"[{self.host.name}] no end within {seconds} s: {which}; {limits.HINT}")
        with self._turn, gevent.Timeout(seconds, late), broken_by_name():
            with self._opening:
                transport = self._transport()
            channel = open_session(transport, self.limits.session)
            try:
                if arguments.get("_get_pty"):
                    channel.get_pty()
                channel.exec_command(environment.marked(text, mark))
                feeding = gevent.spawn(self._feed, channel, arguments.get("_stdin"))
                errors = gevent.spawn(_read, channel.recv_stderr, mark)
                output = _read(channel.recv, mark)
                code = channel.recv_exit_status()
                gevent.joinall([feeding])
            finally:
                self.uploaded = (0, 0)
                channel.close()
        if code < 0:  # paramiko's word for none
            raise SSHException("the connection broke")
        lines = [OutputLine("stdout", line) for line in output]
        lines += [OutputLine("stderr", line) for line in errors.get()]
        return code in (arguments.get("_success_exit_codes") or [0]), CommandOutput(lines)

    def _feed(self, channel: Channel, text: str | Iterable[str] | None) -> None:
        """Give a command its standard input, lines as pyinfra gives them. It need not read all, or any."""
        whole = text.bytes if isinstance(text, Encoded) else 0
        try:
            for number, part in enumerate([text] if isinstance(text, str) else text or []):
                self.uploaded = (min(number * LINE_BYTES, whole), whole)
                channel.sendall((part if part.endswith("\n") else f"{part}\n").encode())
            self.uploaded = (0, 0)
            channel.shutdown_write()
        except (OSError, EOFError):  # the command's end says why
            return

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Upload a file. It appears at once, with the owner and mode of one that was there before."""
        with get_file_io(filename_or_io) as file:
            content = file.read()
        command = with_input(upload_script(remote_filename), content)
        return self.run_shell_command(command, **{**arguments, **command.connector_arguments})[0]

    def rsync(self, *arguments: Any, **options: Any) -> bool:
        try:
            return super().rsync(*arguments, **options)
        finally:
            pyinfra_compat.forget_all(self.state)


def _question(command: StringCommand, arguments: dict[str, Any], script: str) -> Question:
    """What a batch asks. By sudo to root and nothing more a command needs no wrapping: there is a shell of root's.

    `script` is what it has in common with questions about other subjects, "" where there are none.
    """
    if any(arguments.get(name) for name in WRAPPED) or arguments.get("_shell_executable", "sh") != "sh":
        command, by_sudo, script = _wrapped(command, arguments), False, ""
    else:
        by_sudo = bool(arguments.get("_sudo"))
    text, masked = command.get_raw_value(), command.get_masked_value()
    shown = "" if text == masked else masked
    if not script:
        return Question(text, by_sudo, shown=shown)
    return Question(script, by_sudo, text.removeprefix("set -- ").removesuffix(f"\n{script}"), shown)


def _wrapped(command: StringCommand, arguments: dict[str, Any]) -> StringCommand:
    """A command with all that its arguments say: another user, a folder, variables."""
    if any(arguments.get(name) for name in ("_sudo", "_su_user", "_doas", "_dzdo")):
        command = StringCommand(environment.inside(), command)
    return make_unix_command(command, **{name: value for name, value in arguments.items() if name not in CONTROL})


def _read(receive: Any, mark: str) -> list[str]:
    """The lines of an output after the line `mark`: what is before it is the login's, which is all where none is there.
    Of a very long one the middle is left out, and what is no UTF-8 is shown as such."""
    head, tail, left_out = bytearray(), bytearray(), 0
    while data := receive(2**16):
        room = MAX_KEPT_BYTES - len(head)
        head += data[:room]
        tail += data[room:]
        if len(tail) > 2 * MAX_KEPT_BYTES:
            left_out += len(tail) - MAX_KEPT_BYTES
            del tail[:-MAX_KEPT_BYTES]
    gap = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
    # A terminal's lines end in another way.
    text = re.split(f"{mark}\r?\n".encode(), bytes(head + gap + tail), maxsplit=1)[-1].decode(errors="replace")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines
