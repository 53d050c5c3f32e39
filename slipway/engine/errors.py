"""What goes wrong in a run, in words that a user can act on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError

from slipway import project
from slipway.engine import pyinfra_compat
from slipway.engine.outcome import Outcome
from slipway.engine.traces import in_one_line

NOPASSWD = "let the user sudo without a password: USER ALL=(ALL) NOPASSWD: ALL in /etc/sudoers.d/USER"
RATE_LIMITED = "wait until the time that it names"
# What a user can do about an error of ssh's, by a part of its text.
HINTS = {
    "Authentication error": "set ssh_user and ssh_key for the host in the inventory; `ssh USER@HOST` must work by"
    " itself. If the key is the right one, `journalctl -u ssh` on the server says why (an account that is locked or has"
    " expired, AllowUsers, /etc/nologin)",
    "Could not connect": "is the server up, and are ssh_hostname and ssh_port right?",
    "but did not answer": "is the server overloaded, or does a firewall drop packets? Try again",
    "Could not resolve hostname": "set the host's name, or its address as ssh_hostname, in the inventory",
    "connection broke": "is the server up? When it is, run this again to resume",
    # certbot's words for the problem types of RFC 8555, section 6.7.
    "Type:   connection": "the ACME server can't reach port 80 of the host by that name: open it in the provider's"
    " firewall, and let the name lead here alone (A and AAAA records)",
    "Type:   dns": "the ACME server finds no address for that name: check its DNS (dig NAME; dig CAA NAME)",
    "Type:   caa": "a CAA record forbids this authority: allow it at the DNS provider (letsencrypt.org)",
    "Type:   unauthorized": "another server answers for that name, or a proxy before this one: let the name lead here",
    "too many certificates": RATE_LIMITED,
    "too many failed authorizations": RATE_LIMITED,
    "Could not get lock": "another program is at work on packages: `ps -fp PID` shows it. Wait until it has ended, or"
    " raise apt_lock_timeout",
    "-backend.service: is crash-looping": "if its code is at fault, fix it, and type `slipway release`, then `slipway"
    " apply`, which changes no release",
    "00-slipway.conf": "the line comes from sshd_settings",
    "cannot lock /etc/": "another program changes users, or one that was killed has left its lock: ls -l /etc/*.lock on"
    " the server, and remove an old one",
    "No space left on device": "the server's disk is full: free some space (df -h shows where), then run it again",
    "a password is required": NOPASSWD,
    "not in the sudoers file": NOPASSWD,
    "is not allowed to": NOPASSWD,
    "sudo: not found": "apt install sudo on the server, or set ssh_user to root",
}


class RunFailed(Exception):
    """A run that did not end well; `str()` is what the user reads."""


class ApplyFailed(RunFailed):
    """An apply that failed on some hosts, and what it did before and on the others."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("\n\n".join(outcome.failures.values()))
        self.outcome = outcome


# The same about a login that runs no command, of which the first that fits is told.
NO_COMMAND = "the login ran no command"
OF_LOGINS = {
    "Please login as the user": "set ssh_user for the host in the inventory to the user that it names",
    "expired": "type `ssh -t USER@HOST` once, and change the password; or set ssh_user to another user",
    "is currently not available": "give the user a shell (usermod -s /bin/bash USER), or set ssh_user to another",
    "sftp": "the user may transfer files alone: set ssh_user to one with a shell",
    "": "the user's shell, a profile, or a forced command (command= in authorized_keys, ForceCommand in sshd_config)"
    " answers instead: set ssh_user to a user whose `ssh USER@HOST id` prints who it is",
}


def hints_for(text: str) -> list[str]:
    """A line for each thing that a user can do about what `text` says, and that it does not say itself."""
    whole = text
    # Of several logins the one that came furthest, and what was tried after it.
    _, came_further, after = text.rpartition(" logs in by port ")
    text = f"{came_further}{after}" if came_further else text
    found = [hint for sign, hint in HINTS.items() if sign in text]
    if NO_COMMAND in text:
        found.append(next(hint for sign, hint in OF_LOGINS.items() if sign in text))
    return [f"  {hint}" for hint in dict.fromkeys(found) if hint not in whole]


class CollectedLog(logging.Handler):
    """pyinfra's warnings and errors, as plain lines."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        logger = logging.getLogger("pyinfra")
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()).rstrip()
        if record.levelno >= logging.WARNING:
            self.lines.append(text)

    def take(self, host: str = "") -> list[str]:
        """What has been logged since, about one host if it is given: without its name then."""
        mark = re.compile(rf"\s*\[{re.escape(host)}\] ?" if host else "")
        lines = [mark.sub("", line, count=1) for line in self.lines if mark.match(line)]
        self.lines = [line for line in self.lines if not mark.match(line)]
        return lines

    def close(self) -> None:
        logging.getLogger("pyinfra").removeHandler(self)
        super().close()


@contextmanager
def failing(log: CollectedLog) -> Iterator[None]:
    """Turn pyinfra's and ssh's errors, and what was logged on the way, into one RunFailed."""
    try:
        yield
    except (PyinfraError, SSHException) as error:
        # pyinfra's last word is that no host is left; what happened is in its log.
        last = "" if str(error) == "No hosts remaining!" else str(error)
        lines = [line for line in [*log.take(), last] if line]
        raise RunFailed("\n".join([*lines, *hints_for("\n".join(lines))])) from error


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what a mistake in the inventory, the settings or the deploy file raises into one line that says where."""
    try:
        yield
    except (SyntaxError, pyinfra_compat.UnexpectedExternalError) as error:
        cause = error.exception if isinstance(error, pyinfra_compat.UnexpectedExternalError) else error
        operation = getattr(error, "operation", "")
        at = f"{operation}: " if operation else ""
        said, lines = in_one_line(cause), _unreadable()
        file = said.partition(",")[0]
        own = [] if any(line.startswith(file) for line in lines) else [f"{at}{said}"]
        raise RunFailed("\n".join([*own, *lines])) from error
    except UnicodeDecodeError as error:
        raise RunFailed("\n".join(_unreadable()) or str(error)) from error


def _unreadable() -> list[str]:
    """What keeps Python from reading the files of settings, a line each: it would stop at the first."""
    folder, found = project.folder(), []
    for file in (folder / "inventory.py", *sorted((folder / "group_data").glob("*.py"))):
        data, name = file.read_bytes() if file.is_file() else b"", project.shown(str(file))
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            found.append(f"{name}, line {line}: found the byte {data[error.start]:#04x}, expected text in UTF-8")
            continue
        if b"\0" in data:
            found.append(f"{name}: found a NUL, expected text in UTF-8")
            continue
        try:
            compile(data, str(file), "exec")
        except SyntaxError as error:
            found.append(in_one_line(error))
    return found
