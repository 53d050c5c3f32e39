"""Verbs that hand a host's terminal or output to the user: by OpenSSH itself, to where Slipway's own login got."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pyinfra.api.host import Host

from slipway.cli.running import connected, end_with_failures
from slipway.engine import openssh
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.ui.console import Console, escape, plain

_PRINTING = threading.Lock()
# prctl(2) is Linux's.
_PRCTL: Any = getattr(ctypes.CDLL(None), "prctl", None)
PR_SET_PDEATHSIG = 1


def reached(session: Session, console: Console) -> list[Host]:
    """The hosts of a session that can be logged in to, as which users their data say then. Raises RunFailed where there
    is none."""
    with connected(session, console):
        hosts = [connector.host for connector in session.connections.connectors()]
    if not hosts:
        end_with_failures(session.connections.failures)
        raise RunFailed("there is no such host")
    return hosts


def argv(host: Host, script: str, terminal: bool = False) -> list[str]:
    """The command that runs a script on a host as root; "" is a login's shell."""
    words = ["ssh", "-t" if terminal else "-T", *openssh.way(host.name, host.data.dict()).words]
    if not script:
        return words
    # Those of ~/.ssh/config are for the user's own sessions.
    words[1:1] = ["-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes"]
    by_root = f"{'sudo -H ' if host.data.get('_sudo') else ''}sh -c {shlex.quote(script)}"
    return [*words, by_root]


def hand_over(session: Session, console: Console, scripts: Mapping[str, str]) -> None:
    """Give the user's terminal to one host's script, whose exit code is the verb's. Raises RunFailed where there are
    several hosts."""
    hosts = reached(session, console)
    if len(hosts) > 1:
        names = ", ".join(host.name for host in hosts)
        raise RunFailed(f"found {len(hosts)} hosts, expected one: {names}; add --limit {hosts[0].name}")
    command = argv(hosts[0], scripts[hosts[0].name], terminal=sys.stdin.isatty() and sys.stdout.isatty())
    sys.stdout.flush()
    # Terminal, signals and exit code are ssh's from here on.
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


def follow(session: Session, console: Console, scripts: Mapping[str, str]) -> None:
    """Print what the scripts of all hosts print, as they do; of several hosts with their names. Raises RunFailed."""
    hosts = reached(session, console)
    running = {host.name: _started(argv(host, scripts[host.name])) for host in hosts}
    threads = []
    for name, process in running.items():
        prefix = f"{name}: " if len(hosts) > 1 else ""
        assert process.stdout
        threads.append(threading.Thread(target=_show, args=(console, process.stdout, prefix), daemon=True))
        threads[-1].start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        # What is followed has no end of its own.
        for process in running.values():
            process.terminate()
        return
    ended = {name: process.wait() for name, process in running.items()}
    failed = {name: f"[{name}] ended with {code}" for name, code in ended.items() if code}
    end_with_failures({**session.connections.failures, **failed})


def _started(command: list[str]) -> subprocess.Popen[str]:
    """A command whose output is read, and which ends with this process, even by SIGKILL."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        # No thread runs yet.
        preexec_fn=_end_with_parent if _PRCTL else None,
    )


def _end_with_parent() -> None:
    _PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


def copy_file(host: Host, source: str, target: Path) -> None:
    """Copy a host's file to a new one here, complete or not at all, for its owner alone. Raises RunFailed."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as writing:
            done = subprocess.run(argv(host, f"cat {shlex.quote(source)}"), stdout=writing, check=False)
        if done.returncode:
            raise RunFailed(f"[{host.name}] copying {source} ended with {done.returncode}; try again")
        part.rename(target)
    except OSError as error:
        raise RunFailed(f"{target}: {error.strerror}; name another file") from None
    finally:
        part.unlink(missing_ok=True)


def _show(console: Console, output: IO[str], prefix: str) -> None:
    for line in output:
        with _PRINTING:
            console.say(escape(plain(line.rstrip("\n"))), prefix)
