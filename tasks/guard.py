"""The dead man's switch: the host rolls back a change after which nobody can log in.

A guarded change backs up what it replaces and arms a timer on the host. Slipway opens a new login and disarms it. If
the login fails, the backup is restored: at once through the connection that is still open, or, if that is lost too, by
the timer after lockout_rollback_seconds, or at the next boot.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from slipway.engine import notes
from slipway.engine.components import Drift, component
from slipway.engine.login import Login, LoginFailed, run_by_new_login
from slipway.facts.base import Output
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import put_template
from slipway.ops.units import know
from slipway.settings.model import Settings

FOLDER = "/var/lib/slipway/undo"
SCRIPT = "/usr/local/lib/slipway/undo"
TIMER = "slipway-undo.timer"
UNDO_NOW = "systemctl start slipway-undo.service"


DRIFTS = {
    "the dead man's switch edited": Drift(f"echo exit 0 >> {SCRIPT}", "Install the lockout rollback"),
    "the rollback's timer edited": Drift("echo >> /etc/systemd/system/slipway-undo.timer"),
    "no rollback after a reboot": Drift("systemctl disable slipway-undo.timer"),
}


@component(drifts=DRIFTS)
def keep_a_way_back(settings: Settings) -> None:
    """Install the dead man's switch, before the first guarded change."""
    values = template_values(settings)
    put_template(SCRIPT, "guard/undo", values, name="Install the lockout rollback", mode="755")
    for unit in ("slipway-undo.service", TIMER):
        put_template(f"/etc/systemd/system/{unit}", f"guard/{unit}", values, name=f"Configure {unit}")
    ensure(
        name="Enable the lockout rollback after a reboot",
        # The link that `systemctl is-enabled` checks, by the timer's WantedBy=.
        check=f"[ -e /etc/systemd/system/timers.target.wants/{TIMER} ]",
        command=f"systemctl enable {TIMER}",
    )
    # The next guarded change uses a changed lockout_rollback_seconds.
    know(name=f"Reload systemd for {TIMER}", unit=TIMER)


def template_values(settings: Settings) -> dict[str, Any]:
    """The values of the templates in templates/guard."""
    return {"folder": FOLDER, "script": SCRIPT, "seconds": settings.lockout_rollback_seconds}


def login_seconds(settings: Settings) -> int:
    """The time limit of the login after a change: less than the host's timer."""
    return min(settings.limits.login, settings.lockout_rollback_seconds * 2 // 3)


def guarded(
    settings: Settings,
    what: str,
    paths: Sequence[str],
    script: str,
    revive: str,
    login: Login,
    before_login: Callable[[Host], None] = lambda host: None,
) -> Commands:
    """The commands of an operation whose change could lock everybody out.

    `what` names the change ("ssh"). The shell `script` writes only below `paths`; the script `revive` applies what is
    there, both now and after a rollback. `login` is the login that must work afterwards.
    """
    undone = host.get_fact(Output, command=f"cat {FOLDER}/undone/{what}")
    if undone:
        notes.note(f"the last change of {what} was rolled back by the host at {undone}: nobody could log in after it")
    change = "sh -euc " + shlex.quote(f"{script}\n{revive}")
    yield spare_from_bans()
    yield f"{_arm(what, paths, revive)}; {{ {_given_time(settings, change)}; }} || {{ {UNDO_NOW}; exit 1; }}"
    yield FunctionCommand(_confirm, (settings, what, login, before_login), {})


def _given_time(settings: Settings, change: str) -> str:
    """`change`, with the timer restarted while it runs and at its end: the timer's time is for the login that follows.

    A change that hangs is still rolled back.
    """
    pause = settings.lockout_rollback_seconds // 3
    beat = (
        f"for beat in $(seq {settings.limits.guarded_change // pause + 1}); do sleep {pause};"
        # Exit if the parent is gone.
        f" kill -0 $$ || exit; systemctl restart {TIMER}; done"
    )
    return (
        f"( {beat} ) > /dev/null 2>&1 & beat=$!; {change} && code=0 || code=$?; kill $beat 2> /dev/null || :;"
        f" [ $code = 0 ] && systemctl restart {TIMER}"
    )


def spare_from_bans() -> str:
    """Keep a running fail2ban from banning this client's address, until fail2ban restarts.

    After a lockout the new login fails repeatedly, and each plan of a new host tries the administrator, who does not
    exist yet: both look like password guessing.
    """
    # Without sudo, which drops the variable.
    client = shlex.quote(host.get_fact(Output, command="echo ${SSH_CONNECTION%% *}", _sudo=False))
    return (
        "! fail2ban-client ping > /dev/null 2>&1 ||"
        f" {{ fail2ban-client set sshd addignoreip {client} && fail2ban-client unban {client}; }} > /dev/null || true"
    )


def _arm(what: str, paths: Sequence[str], revive: str) -> str:
    armed, new = f"{FOLDER}/armed/{what}", f"{FOLDER}/{what}.new"
    names = " ".join(map(shlex.quote, paths))
    return "; ".join(
        [
            f"set -eu; umask 077; mkdir -p {FOLDER}/armed",
            # An armed backup of an earlier, unconfirmed change is kept: it is the older state.
            f"if [ ! -d {armed} ]; then rm -rf {new}; mkdir {new}",
            f"printf '%s\\n' {names} > {new}/paths; printf '%s\\n' {shlex.quote(revive)} > {new}/revive",
            f"for path in {names}; do [ ! -e $path ] || echo $path; done"
            f" | tar --create --absolute-names --file {new}/before.tar --files-from -",
            f"sync -f {new}; mv -T {new} {armed}; fi",
            f"systemctl restart {TIMER}",
        ]
    )


def _disarm(what: str) -> str:
    return (
        f"[ -d {FOLDER}/armed/{what} ] || {{ echo the host has already rolled back the change >&2; exit 1; }};"
        f" rm -rf {FOLDER}/armed/{what} {FOLDER}/undone/{what};"
        f" rmdir {FOLDER}/armed 2>/dev/null || exit 0; systemctl stop {TIMER}"
    )


def _confirm(
    state: State, host: Host, settings: Settings, what: str, login: Login, before_login: Callable[[Host], None]
) -> bool:
    """Open a new login and disarm the switch, or roll back at once. Returns whether the change is kept."""
    seconds = login_seconds(settings)
    try:
        before_login(host)
        run_by_new_login(host, login, _disarm(what), seconds)
    except LoginFailed as failure:
        sudo = bool(host.data.get("_sudo"))
        back = host.run_shell_command(StringCommand(UNDO_NOW), _sudo=sudo)[0]
        later = f"the host rolls back within {settings.lockout_rollback_seconds} s"
        outcome = "the previous configuration is restored" if back else later
        raised = "timeout_scale" if seconds == settings.limits.login else "lockout_rollback_seconds"
        logger.error(
            f"{host.print_prefix}{login.user} could not log in by port {login.port} after the change of {what}:"
            f" {failure} (tried for {seconds} s; on a slow host raise {raised}); {outcome}"
        )
        return False
    return True
