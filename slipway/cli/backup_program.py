"""A program on a host that runs to its end whatever becomes of the connection, and what it says as it says it: that of
backups (slipway/backups/program.py), and upgrades."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import NamedTuple

from slipway.cli.running import connected, end_with_failures
from slipway.engine.connector import HostFailed
from slipway.engine.session import Session
from slipway.settings.members import backs_up
from slipway.tasks.backup import PROGRAM
from slipway.ui.console import Console, escape, plain

POLL_SECONDS = 1.0
# Backups are made where the database is.
ROLE = ("db",)
OFF = "backups are off on this host: set backup_repositories, and run `slipway apply` (slipway help backups)"
END = "slipway-asked-end:"


class Job(NamedTuple):
    """The unit that it runs in, the file with what it says (beside it the exit code), who is in the way, and the unit's
    limits as systemd's properties."""

    unit: str
    said: str
    busy: str
    limits: tuple[str, ...] = ()


# A restore runs a MongoDB beside the site's, which the kernel must not kill for it.
LIMITS = ("MemoryHigh=50%", "MemoryMax=60%", "OOMScoreAdjust=500")
BUSY = "another backup or restore is running on this host"
BACKUP = Job("slipway-asked", "/run/slipway-backup/asked", BUSY, LIMITS)


def makers(session: Session) -> list[str]:
    """The hosts of a session that make backups: of a replica set's members one does."""
    others = {name for name, settings in session.connections.settings.items() if not backs_up(settings)}
    return [host.name for host in session.connections.hosts() if host.name not in others]


def start_script(command: str, job: Job = BACKUP) -> str:
    """A script that starts a command in a unit of its own; fails where another one runs."""
    said, limits = job.said, "".join(f" -p {limit}" for limit in job.limits)
    return (
        f"! systemctl is-active -q {job.unit} || {{ echo {shlex.quote(job.busy)}; exit 1; }}\n"
        f"install -d -m 711 {said.rpartition('/')[0]}; rm -f {said}.code; umask 077; : > {said}\n"
        # From a file: systemd would expand a ${NAME} in a unit's command.
        f"cat > {said}.sh <<'END_OF_COMMAND'\n{command} > {said} 2>&1; echo $? > {said}.code\nEND_OF_COMMAND\n"
        f"systemd-run --quiet --collect --unit={job.unit}{limits} --description='Started by slipway' sh {said}.sh"
    )


def backup_script(words: list[str]) -> str:
    """The same for the program of backups."""
    is_there = f"[ -x {PROGRAM} ] || {{ echo {shlex.quote(OFF)}; exit 1; }}\n"
    return is_there + start_script(shlex.join([PROGRAM, *words]))


def look_script(begin: int, job: Job = BACKUP) -> str:
    """A script that prints what was said from a byte on, and last a line with the byte that it came to, and with the
    exit code once there is one."""
    return (
        f"systemctl is-active -q {job.unit} && there=yes || there=no; code=$(cat {job.said}.code 2> /dev/null)\n"
        f"size=$(stat -c %s {job.said}); tail -c +{begin + 1} {job.said} | head -c $((size - {begin}))\n"
        f"""[ -n "$code" ] || [ $there = yes ] || code=gone; printf '\\n{END}%s %s' $size $code"""
    )


def run_there(session: Session, console: Console, words: list[str], shows: bool = True) -> dict[str, str]:
    """What the program of backups said, by host, within a session that is connected. Raises RunFailed."""
    names = [connector.host.name for connector in session.connections.connectors()]
    return run_job(session, console, dict.fromkeys(names, backup_script(words)), shows=shows)


def run_job(
    session: Session, console: Console, scripts: Mapping[str, str], job: Job = BACKUP, shows: bool = True
) -> dict[str, str]:
    """What a job said, by host: `scripts` start it. Raises RunFailed."""
    said: dict[str, str] = {}
    for connector in session.connections.connectors():
        name = connector.host.name
        if name not in scripts:
            continue
        answer = connector.by_root(scripts[name])
        if answer.code:
            session.connections.fail(connector.host, f"[{name}] {answer.output.strip()}")
        else:
            said[name] = ""
    try:
        _follow(session, console, said, job, shows)
    except KeyboardInterrupt:
        names = ", ".join(said)
        raise KeyboardInterrupt(f"  [{names}] goes on with it; {job.said} there tells how it ends") from None
    end_with_failures(session.connections.failures)
    return said


def _follow(session: Session, console: Console, said: dict[str, str], job: Job, shows: bool) -> None:
    """Add to `said` what the hosts in it say, until the job has ended on all of them."""
    running, reached, unshown = {*said}, dict.fromkeys(said, 0), dict.fromkeys(said, "")

    def show(name: str, lines: list[str]) -> None:
        if shows and console.level >= 0:
            for line in lines:
                console.say(escape(plain(line.rstrip("\n"))), f"  {name}: ")

    while running:
        time.sleep(POLL_SECONDS)
        for connector in session.connections.connectors():
            name = connector.host.name
            if name not in running:
                continue
            try:
                shown = connector.by_root(look_script(reached[name], job)).output
            except HostFailed as error:
                running.discard(name)
                show(name, [unshown[name]] if unshown[name] else [])
                session.connections.fail(connector.host, f"{error}; it goes on there: {job.said} tells how it ends")
                continue
            text, _, end = shown.rpartition(f"\n{END}")
            size, _, code = end.strip().partition(" ")
            said[name], reached[name] = said[name] + text, int(size)
            lines = f"{unshown[name]}{text}".splitlines(keepends=True)
            # A last line that has just come waits for the next look: it may be the error, which is shown as such.
            unshown[name] = lines.pop() if text and not code else ""
            if code:
                running.discard(name)
                if code != "0":
                    why = (said[name].strip().splitlines() or [f"the program ended: {code}"])[-1]
                    session.connections.fail(connector.host, f"[{name}] {why}")
                    lines = lines[:-1]
            show(name, lines)


def ask_host(console: Console, session: Session, words: list[str], shows: bool = True) -> dict[str, str]:
    """The same, connected for it."""
    with connected(session, console):
        return run_there(session, console, words, shows)
