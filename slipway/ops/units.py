"""systemd units: enabled, running, healthy, and restarted when their files have changed."""

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
# By --runtime only a mask in /run is removed, and without it only one in /etc; both make systemd reload its units.
UNMASK = {"masked": "systemctl unmask {}", "masked-runtime": "systemctl --runtime unmask {}"}


@dataclass(frozen=True)
class Ready:
    """A service's readiness check: a shell command that succeeds when the service works.

    After a start it is retried for up to `seconds`; `setting` is the one to raise. `before` and `after` are commands
    around each restart; if `before` fails, there is no restart. `is_calm` retries less often after the first tries,
    as the service may limit the rate of requests. `watch` is a command that gets the id of the waiting process: it ends
    that one's process group as soon as waiting is useless, and says why.
    """

    check: str
    seconds: int
    setting: str = "timeout_scale"
    before: str = ""
    after: str = ""
    is_calm: bool = False
    watch: str = ""


class Around(NamedTuple):
    """Shell commands before and after a restart; `after` runs even if the restart fails."""

    before: str
    after: str


def undone_by_timer(around: Around, name: str, seconds: int) -> Around:
    """The same, and `after` by a timer of systemd's, too, `seconds` later: the shell may be killed before it. What an
    earlier one has left is undone first."""
    unit = f"slipway-undo-{name}"
    stop = f"systemctl stop {unit}.timer 2> /dev/null || :"
    begin = (
        f"systemd-run --quiet --collect --unit={unit} --on-active={seconds} --timer-property=AccuracySec=1s"
        f" sh -c {shlex.quote(around.after)} 2> /dev/null || :"
    )
    return Around(f"{around.after}; {stop}; {begin}; {around.before}", f"{around.after}; {stop}")


@operation()
def service(
    unit: str,
    ready: Ready | None = None,
    files: Sequence[str] = (),
    reloads: bool = False,
    unit_files: Sequence[str] = (),
    around: Around | None = None,
) -> Commands:
    """Make sure that a systemd unit is enabled, running, and started after the last change of `files`.

    A restart after a change is a reaction of its own (`restart`); this makes up for one that an interrupted run missed.
    `reloads`: a reload suffices to read changed `files`; `unit_files` are those that need a restart (its sandbox). A
    running unit that is not `ready` is restarted; if it is not ready after a start, its last log lines are shown.
    `around` are commands around each restart. Of a timer, its service is unmasked too.
    """
    if unit.endswith(".timer"):
        # Otherwise the timer does not start, or starts nothing.
        started = f"{unit.removesuffix('.timer')}.service"
        if unmask := UNMASK.get(host.get_fact(Unit, unit=started).get("UnitFileState", "")):
            notes.note(f"{started}: masked -> unmasked")
            yield unmask.format(started)
    state = host.get_fact(Unit, unit=unit)
    if state.get("UnitFileState") not in ("enabled", "static", "alias", "indirect", "generated"):
        notes.note(f"{unit}: {state.get('UnitFileState') or 'unknown'} -> enabled")
        unmask = UNMASK.get(state.get("UnitFileState", ""), "").format(unit)
        yield f"{unmask} && systemctl enable {unit}" if unmask else f"systemctl enable {unit}"
    is_looping = is_crash_looping(state)
    if state.get("ActiveState") not in ("active", "activating", "reloading") or is_looping:
        found = "crash-looping" if is_looping else state.get("ActiveState") or "not there"
        notes.note(f"{unit}: {found} -> active")
        # A socket's service may have been masked until now: without a reload systemd may still see the mask.
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
    """Whether a unit (facts.Unit) started before `modified`; after a reload its new children count."""
    began = state.get("ChildBegan" if reloads else "Began")
    return began is not None and modified - int(began) > STALE_SECONDS


@operation()
def know(unit: str) -> Commands:
    """Make sure that systemd has loaded the current files of a unit."""
    if host.get_fact(Unit, unit=unit).get("NeedDaemonReload") == "yes":
        yield "systemctl daemon-reload"


def is_crash_looping(state: Mapping[str, str]) -> bool:
    """Whether a unit (facts.Unit) is being restarted after it exited by itself: waiting to be, or starting."""
    again = state.get("ActiveState") == "activating" and state.get("NRestarts", "0") != "0"
    return state.get("SubState") == "auto-restart" or again


def restarts(*causes: Any) -> Callable[[], bool]:
    """A condition for `restart`: one of these operations changed something that requires it (files.put)."""
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

    If it fails, the files that were put with `rollback_unit=unit` are restored. `stop` is a unit to stop before, and to
    leave stopped; the files put for it are restored on failure, and their backup is kept until it has started.
    `rehearse` reloads the unit first: if that fails, it still runs. `observed` is a shell command that must print the
    same lines before and after. `around` are commands around the restart itself.
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
        # Ignore signals until `after`, which undoes `before`, has run.
        end = f"trap {shlex.quote(around.after)} EXIT; trap '' HUP INT TERM PIPE"
        action = f"( {end}; {around.before}; {action} )"
    if rehearse:
        action = f"{{ {_reload(unit)}; }} && {action}"
    # A mask is removed here already: what enables the unit comes after this reaction.
    unmask = (
        f"case $(systemctl is-enabled {unit} 2>/dev/null) in masked*)"
        f" systemctl unmask {unit}; systemctl --runtime unmask {unit} ;; esac; "
    )
    reset = f"{unmask}systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; "
    command = (
        or_roll_back(and_observe(reset + and_wait(f"{{ {action}; }}", unit, ready), observed), unit, reload or rehearse)
        + f" && rm -rf {KEPT}/{unit}"
    )
    if ready and ready.before:
        # A subshell, so that `after` runs at its exit, whatever the exit code.
        return f"({ready.before} || exit 1; trap {shlex.quote(ready.after)} EXIT; {command})"
    return command


def and_observe(attempt: str, observed: str) -> str:
    """`attempt`; exit with 1 if a line that `observed` printed before is still missing 10 s after."""
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
    """Reload a unit, or start one that is not running. A program may accept a reload, then fail it and keep its old
    children. So wait for a new child."""
    seconds = limits.of_host(host).reload
    newest = f"pgrep -n -P $(systemctl show --property=MainPID --value {unit})"
    new = shlex.quote(f'until [ "$({newest})" != "$1" ]; do sleep 0.1; done')
    late = f"echo '{unit} has no new process {seconds} s after a reload; {limits.HINT}' >&2; false"
    return (
        f"old=$({newest}); systemctl reload-or-restart {unit}"
        f' && {{ timeout {seconds} sh -c {new} sh "$old" || {{ {late}; }}; }}'
    )


def until(ready: Ready, seconds: int, watch: str = "") -> str:
    """A command that succeeds as soon as `ready.check` does, and fails after `seconds`, or with TERMINATED if `watch`
    ends it.

    A time limit, not a number of tries: one try at a service that accepts and never answers takes seconds.
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
    """`action`, then wait until `ready`; on failure print the unit's last log lines and exit with 1."""
    # mongod logs its shutdown at length: informational lines would hide the error.
    last = f"""journalctl -u {unit} -n 80 --no-pager | grep -v '"s":"I"' | tail -n 20"""
    failure = f"{{ {last} >&2; exit 1; }}"
    if ready is None:
        return f"{action} || {failure}"
    late = f"echo '{unit} is not ready after {ready.seconds} s; on a slow host raise {ready.setting}' >&2"
    told = f"[ $? != {TERMINATED} ] || exit 1; " if ready.watch else ""
    return f"{action} || {failure}; {until(ready, ready.seconds, ready.watch)} || {{ {told}{late}; {failure}; }}"
