"""systemd units that follow change: enabled, running, ready, and running with the files they have."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes, run
from slipway.facts.base import Output
from slipway.facts.files import Modified
from slipway.facts.units import Unit
from slipway.ops.backup import KEPT, or_roll_back
from slipway.ops.commands import Commands
from slipway.settings import limits

# A process's age is known in whole seconds.
STALE_SECONDS = 2
# The exit code of a shell that SIGTERM has ended.
TERMINATED = 143


@dataclass(frozen=True)
class Ready:
    """How to tell that a service does its work: a shell command that succeeds then.

    After a start it is waited for `seconds` at most, which the `setting` makes more. `before` and `after` are commands
    around each restart; where the first one fails there is none. One that is calm asks less often after the first
    tries: who is asked may limit that. `watch` is a command that is given the process that waits; it says why it is
    useless to wait any longer, and ends the process group of that.
    """

    check: str
    seconds: int
    setting: str = "timeout_scale"
    before: str = ""
    after: str = ""
    is_calm: bool = False
    watch: str = ""


class Around(NamedTuple):
    """Shell commands before and after a restart; the second one runs whatever comes of it."""

    before: str
    after: str


@operation()
def service(
    unit: str,
    ready: Ready | None = None,
    files: Sequence[str] = (),
    reloads: bool = False,
    unit_files: Sequence[str] = (),
    around: Around | None = None,
) -> Commands:
    """Make sure that a systemd unit is enabled, running, and runs with `files` as they are now.

    A restart after a change is a reaction of its own (`restart`); this catches the one that an interrupted run never
    came to. `reloads` says that the unit reads its files anew on a reload; `unit_files` are those that no reload reads
    (its sandbox). One that runs and is not `ready` is restarted; where it is not after a start, the unit's last log
    lines are shown. `around` is done around each restart.
    """
    state = host.get_fact(Unit, unit=unit)
    if state.get("UnitFileState") not in ("enabled", "static", "alias", "indirect", "generated"):
        notes.note(f"{unit}: {state.get('UnitFileState') or 'unknown'} -> enabled")
        # By --runtime only a mask in /run is removed, and without it only one in /etc.
        masks = {"masked": f"systemctl unmask {unit} && ", "masked-runtime": f"systemctl --runtime unmask {unit} && "}
        # Each of the two makes systemd read its units anew.
        yield f"{masks.get(state.get('UnitFileState', ''), '')}systemctl enable {unit}"
    is_looping = is_crash_looping(state)
    if state.get("ActiveState") not in ("active", "activating", "reloading") or is_looping:
        found = "crash-looping" if is_looping else state.get("ActiveState") or "not there"
        notes.note(f"{unit}: {found} -> active")
        # What a socket would start may have been masked until now, which systemd need not have noticed.
        yield f"systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; " + or_roll_back(
            and_wait(f"systemctl start {unit}", unit, ready), unit
        )
    elif unit_files and is_stale(state, host.get_fact(Modified, paths=tuple(unit_files)), reloads=False):
        notes.note(f"{unit}: is running with a stale unit file")
        yield _restart_command(unit, ready, reload=False, rehearse=reloads, around=around)
    elif files and is_stale(state, host.get_fact(Modified, paths=tuple(files)), reloads):
        notes.note(f"{unit}: is running with stale configuration")
        yield _restart_command(unit, ready, reloads)
    elif ready and host.get_fact(Output, command=_works(ready)) != "yes":
        notes.note(f"{unit}: is running but unhealthy")
        yield _restart_command(unit, ready, reloads)


def _works(ready: Ready) -> str:
    return f"{until(ready, limits.of_host(host).patience)} && echo yes"


def is_stale(state: Mapping[str, str], modified: int, reloads: bool) -> bool:
    """Whether a unit (facts.Unit) runs with what it read before `modified`; a reload is read by new children."""
    began = state.get("ChildBegan" if reloads else "Began")
    return began is not None and modified - int(began) > STALE_SECONDS


@operation()
def know(unit: str) -> Commands:
    """Make sure that systemd has read the files of a unit as they are now."""
    if host.get_fact(Unit, unit=unit).get("NeedDaemonReload") == "yes":
        yield "systemctl daemon-reload"


def is_crash_looping(state: Mapping[str, str]) -> bool:
    """Whether a unit (facts.Unit) is being started again after it ended by itself: now waiting for it, now at it."""
    again = state.get("ActiveState") == "activating" and state.get("NRestarts", "0") != "0"
    return state.get("SubState") == "auto-restart" or again


def restarts(*causes: Any) -> Callable[[], bool]:
    """A condition of `restart`: one of these operations has changed something that requires it (files.put)."""
    without_restart, name = run.of(host.state).without_restart, host.name
    return lambda: any((name, cause._hash) not in without_restart and cause.did_change() for cause in causes)


@operation()
def restart(
    unit: str,
    ready: Ready | None = None,
    reload: bool = False,
    stop: str | None = None,
    rehearse: bool = False,
    observed: str = "",
    around: Around | None = None,
) -> Commands:
    """Restart (or reload) a unit, whatever its state. Call it with `_if=restarts(...)`, as a reaction to changes.

    What was put with `rollback_unit=unit` is settled by it: it stays, or what was there before comes back. `stop` is a
    unit that is stopped before, and left so: what was put for that one comes back, and stays once it has started.
    `rehearse` reloads the unit first: one that fails at that still serves. `observed` is a shell command whose output
    has the same lines after as before. `around` is done around the restart itself.
    """
    if stop:
        attempt = f"systemctl stop {stop}; systemctl daemon-reload; " + and_wait(
            f"systemctl restart {unit}", unit, ready
        )
        yield or_roll_back(attempt, stop)
    else:
        yield _restart_command(unit, ready, reload, rehearse, observed, around)


def _restart_command(
    unit: str,
    ready: Ready | None,
    reload: bool,
    rehearse: bool = False,
    observed: str = "",
    around: Around | None = None,
) -> str:
    action = _reload(unit) if reload else f"systemctl restart {unit}"
    if around and not reload:
        # Signals are ignored until the command that ends what `before` began has run.
        end = f"trap {shlex.quote(around.after)} EXIT; trap '' HUP INT TERM PIPE"
        action = f"( {end}; {around.before}; {action} )"
    if rehearse:
        action = f"{{ {_reload(unit)}; }} && {action}"
    reset = f"systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; "
    command = (
        or_roll_back(and_observe(reset + and_wait(f"{{ {action}; }}", unit, ready), observed), unit, reload or rehearse)
        + f" && rm -rf {KEPT}/{unit}"
    )
    if ready and ready.before:
        # In a shell of its own, at whose end, whatever its exit code, the last command runs.
        return f"({ready.before} || exit 1; trap {shlex.quote(ready.after)} EXIT; {command})"
    return command


def and_observe(attempt: str, observed: str) -> str:
    """`attempt`, and exit code 1 where `observed` had printed a line before that it does not print some time after."""
    if not observed:
        return attempt
    missing = 'for line in $before; do case " $(echo $after) " in *" $line "*) ;; *) echo $line ;; esac; done'
    return f"""\
observed() {{ {observed}
}}
before=$(observed)
{attempt}
for try in 1 2 3 4 5 6 7 8 9 10; do after=$(observed); gone=$({missing}); [ -n "$gone" ] || break; sleep 1; done
[ -z "$gone" ] || {{ echo "answers have changed: $(echo $gone) before, $(echo $after) now" >&2; exit 1; }}"""


def _reload(unit: str) -> str:
    """Reload a unit, or start one that does not run. A program may say yes to a reload and then find that it can't: it
    goes on with its old children. So one that is new is waited for."""
    seconds = limits.of_host(host).reload
    newest = f"pgrep -n -P $(systemctl show --property=MainPID --value {unit})"
    new = shlex.quote(f'until [ "$({newest})" != "$1" ]; do sleep 0.1; done')
    late = f"echo '{unit} has no new process {seconds} s after a reload; {limits.HINT}' >&2; false"
    return (
        f"old=$({newest}); systemctl reload-or-restart {unit}"
        f' && {{ timeout {seconds} sh -c {new} sh "$old" || {{ {late}; }}; }}'
    )


def until(ready: Ready, seconds: int, watch: str = "") -> str:
    """A command that succeeds as soon as `ready` is, and fails after `seconds`, or with TERMINATED where `watch` ends
    it.

    The clock decides, not a number of tries: one try at a service that accepts and never answers takes seconds.
    """
    loop = f"until {ready.check}; do sleep 0.5; done"
    if ready.is_calm:
        loop = f"n=0; until {ready.check}; do n=$((n + 1)); sleep $((n > 5)).5; done"
    if not watch:
        return f"timeout {seconds} sh -c {shlex.quote(loop)}"
    # Only who watches has something to say, not the shells about what is terminated.
    loop = f"trap 'exit {TERMINATED}' TERM; {watch} $$ > /dev/null 2>&3 & {loop}; kill $! || true"
    return f"timeout {seconds} sh -c {shlex.quote(loop)} 3>&2 2> /dev/null"


def and_wait(action: str, unit: str, ready: Ready | None) -> str:
    """`action`, then its time until `ready`; on failure the unit's last log lines and exit code 1."""
    # mongod says at length how it shuts down: what is only informative hides why.
    last = f"""journalctl -u {unit} -n 80 --no-pager | grep -v '"s":"I"' | tail -n 20"""
    failure = f"{{ {last} >&2; exit 1; }}"
    if ready is None:
        return f"{action} || {failure}"
    late = f"echo '{unit} is not ready after {ready.seconds} s; on a slow host raise {ready.setting}' >&2"
    told = f"[ $? != {TERMINATED} ] || exit 1; " if ready.watch else ""
    return f"{action} || {failure}; {until(ready, ready.seconds, ready.watch)} || {{ {told}{late}; {failure}; }}"
