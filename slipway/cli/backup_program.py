"""The program of backups on a host (slipway/backups/program.py), run there to its end whatever becomes of the
connection, and what it says as it says it."""

from __future__ import annotations

import shlex
import time

from slipway.cli.running import connected, end_with_failures
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.tasks.backup import PROGRAM
from slipway.ui.console import Console, escape, plain

# Where it writes what it says and its exit code, and the unit that it runs in.
SAID, UNIT = "/run/slipway-backup/asked", "slipway-asked"
POLL_SECONDS = 1.0
OFF = "backups are off on this host: set backup_repositories, and run `slipway apply` (docs/backups.md)"
END = "slipway-asked-end:"


def start_script(words: list[str]) -> str:
    """A script that starts the program in a unit of its own; fails where another one runs."""
    command = " ".join(map(shlex.quote, [PROGRAM, *words]))
    inner = shlex.quote(f"{command} > {SAID} 2>&1; echo $? > {SAID}.code")
    return (
        f"[ -x {PROGRAM} ] || {{ echo {shlex.quote(OFF)}; exit 1; }}\n"
        f"! systemctl is-active -q {UNIT} || {{ echo 'another backup or restore is running on this host'; exit 1; }}\n"
        f"install -d -m 711 {SAID.rpartition('/')[0]}; rm -f {SAID}.code; : > {SAID}; chmod 600 {SAID}\n"
        f"systemd-run --quiet --collect --unit={UNIT} sh -c {inner}"
    )


def look_script(begin: int) -> str:
    """A script that prints what was said from a byte on, and last a line with the byte that it came to, and with the
    exit code once there is one."""
    return (
        f"systemctl is-active -q {UNIT} && there=yes || there=no; code=$(cat {SAID}.code 2> /dev/null)\n"
        f"size=$(stat -c %s {SAID}); tail -c +{begin + 1} {SAID} | head -c $((size - {begin}))\n"
        f"""[ -n "$code" ] || [ $there = yes ] || code=gone; printf '\\n{END}%s %s' $size $code"""
    )


def run_there(session: Session, console: Console, words: list[str], shows: bool = True) -> dict[str, str]:
    """What the program said, by host, within a session that is connected. Raises RunFailed."""
    said: dict[str, str] = {}
    for connector, answer in session.connections.by_root(start_script(words)):
        if answer.code:
            session.connections.fail(connector.host, f"[{connector.host.name}] {answer.output.strip()}")
        else:
            said[connector.host.name] = ""
    running, reached = {*said}, dict.fromkeys(said, 0)
    while running:
        time.sleep(POLL_SECONDS)
        for connector in session.connections.connectors():
            name = connector.host.name
            if name not in running:
                continue
            text, _, end = connector.by_root(look_script(reached[name])).output.rpartition(f"\n{END}")
            size, _, code = end.strip().partition(" ")
            said[name], reached[name] = said[name] + text, int(size)
            if shows and console.level >= 0:
                for line in text.splitlines():
                    console.say(escape(plain(line)), f"  {name}: ")
            if code:
                running.discard(name)
                if code != "0":
                    lines = said[name].strip().splitlines() or [f"the program ended: {code}"]
                    session.connections.fail(connector.host, f"[{name}] {lines[-1]}")
    end_with_failures(session.connections.failures)
    return said


def ask_host(console: Console, session: Session, words: list[str], shows: bool = True) -> dict[str, str]:
    """The same, connected for it. Interrupted, the host goes on."""
    with connected(session, console):
        try:
            return run_there(session, console, words, shows)
        except KeyboardInterrupt:
            raise RunFailed(f"the host goes on with it; `journalctl -u {UNIT}` and {SAID} there tell") from None
