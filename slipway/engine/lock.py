"""The lock of a host, for one apply at a time, and its log: /var/log/slipway.log, one JSON object per line.

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
# The start time distinguishes processes that reuse an id, proc(5).
_STARTED = "started() { cut -d' ' -f22 /proc/$1/stat 2> /dev/null; }"


def who() -> str:
    """The operator, as user@machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def now() -> str:
    """ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def take(holder: str, since: str, why: str) -> str:
    """A shell script that takes the lock for the shell $1 (remote_shell.py), or prints its holder and exits with 1."""
    text = shlex.quote(f"{holder} since {since} ({why})")
    return f"""\
{_STARTED}
umask 022; exec 9> {LOCK}.turn; flock 9
if read -r pid start text < {LOCK} && [ "$(started $pid)" = "$start" ]; then echo "$text"; exit 1; fi
echo $1 $(started $1) {text} > {LOCK}.new && mv -fT {LOCK}.new {LOCK}"""


def release() -> str:
    """A shell script that releases the lock if the shell $1 holds it."""
    return f"if read -r pid rest < {LOCK} && [ $pid = $1 ]; then rm -f {LOCK}; fi"


def note(verb: str, version: str, result: str, changed: int, seconds: float) -> str:
    """A shell script that appends to the host's log who did what, with which result."""
    line = {"when": now(), "who": who(), "verb": verb, "version": version, "result": result, "changed": changed}
    text = json.dumps({**line, "seconds": round(seconds, 1)})
    return f"umask 027; printf '%s\\n' {shlex.quote(text)} >> {LOG}"
