"""One apply at a time on a host, and a line in its log about each: /var/log/slipway.log, one JSON object a line.

The lock names the shell on the host that an apply works by. That one ends with the connection, whatever happened to the
other end; a lock whose shell is gone holds nobody.
"""

from __future__ import annotations

import getpass
import json
import shlex
import socket
from datetime import UTC, datetime

LOCK = "/run/slipway.lock"
LOG = "/var/log/slipway.log"
# Where a process has one number and another has got it since, this is another one, proc(5).
_STARTED = "started() { cut -d' ' -f22 /proc/$1/stat 2> /dev/null; }"


def who() -> str:
    """The operator, as user@machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def now() -> str:
    """ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def take(holder: str, since: str, why: str) -> str:
    """A shell script that takes the lock for the shell $1 (remote_shell.py); with exit code 1 it prints who has it."""
    text = shlex.quote(f"{holder} since {since} ({why})")
    return f"""\
{_STARTED}
umask 022; exec 9> {LOCK}.turn; flock 9
if read -r pid start text < {LOCK} && [ "$(started $pid)" = "$start" ]; then echo "$text"; exit 1; fi
echo $1 $(started $1) {text} > {LOCK}.new && mv -fT {LOCK}.new {LOCK}"""


def release() -> str:
    """A shell script that gives the lock back, if the shell $1 has it."""
    return f"if read -r pid rest < {LOCK} && [ $pid = $1 ]; then rm -f {LOCK}; fi"


def note(verb: str, version: str, result: str, changed: int, seconds: float) -> str:
    """A shell script that adds a line to the host's log: who has done what, and how it ended."""
    line = {"when": now(), "who": who(), "verb": verb, "version": version, "result": result, "changed": changed}
    text = json.dumps({**line, "seconds": round(seconds, 1)})
    return f"umask 027; printf '%s\\n' {shlex.quote(text)} >> {LOG}"
