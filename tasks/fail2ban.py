"""fail2ban: temporary bans of addresses that repeatedly fail to log in, or exceed the login's rate limit."""

from __future__ import annotations

import re
import shlex

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import run
from slipway.engine.components import Drift, component
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.ops.files import config_tree
from slipway.ops.templates import render
from slipway.ops.units import Ready, restart, service
from slipway.settings.model import Settings
from slipway.tasks.adoption_facts import earlier
from slipway.tasks.guard import spare_from_bans

# python3-systemd reads the journal, the only log of Debian 12's sshd. Bans are in an nftables table of their own: a
# reload of UFW does not lose them, and `ufw status` shows only configured rules.
PACKAGES = ["fail2ban", "nftables", "python3-systemd"]
JAILS = "jail.d/slipway.local"
UNIT = "fail2ban.service"


DRIFTS = {
    "a jail switched off": Drift(
        f"sed -i 's/^enabled = true/enabled = false/' /etc/fail2ban/{JAILS}", "Configure fail2ban"
    ),
    "fail2ban disabled": Drift("systemctl disable fail2ban", "Start fail2ban"),
    "fail2ban stopped": Drift("systemctl stop fail2ban"),
}


def health(settings: Settings) -> dict[str, str]:
    return {UNIT: bans(settings.limits.probe)}


def problems(settings: Settings) -> list[str]:
    """Existing jails with which fail2ban would not start, such as one whose log does not exist."""
    answer = host.get_fact(Output, command=tested(settings)) if earlier(settings) else ""
    failed = re.search(r"ERROR +Failed.*?: (.*)", answer)
    # The logs of Nginx may be still to come.
    if not failed or "for nginx" in failed[1]:
        return []
    need = "a configuration that `fail2ban-server -t` accepts (correct the jail, or set enabled = false)"
    return [f"fail2ban: found {failed[1]!r}, need {need}"]


def tested(settings: Settings) -> str:
    """A command that prints what fail2ban says of a copy of its configuration with Slipway's jails."""
    return (
        "command -v fail2ban-server > /dev/null && folder=$(mktemp -d) && cp -rL /etc/fail2ban/. $folder &&"
        f" printf %s {shlex.quote(jails(settings, is_web=False))} > $folder/{JAILS} &&"
        " fail2ban-server -t -c $folder 2>&1; rm -r $folder"
    )


@component(packages=PACKAGES, units=(UNIT,), preflight=problems, health=health, drifts=DRIFTS)
def fail2ban(settings: Settings) -> None:
    """After Nginx, as it reads Nginx's log."""
    # Behind a load balancer all connections are from there.
    is_public = bool({"lb", "web"} & {*host.groups}) and settings.is_public
    reads_nginx = is_public and "nginx" in run.of(host.state).deployed
    changed = config_tree(
        name="Configure fail2ban",
        root="/etc/fail2ban",
        files={JAILS: jails(settings, reads_nginx)},
        links={},
        check="fail2ban-server -t -c {} > /dev/null",
        rollback_unit=UNIT,
    )
    ready = Ready(bans(settings.limits.probe), settings.limits.ready)
    restart(name="Restart fail2ban", unit=UNIT, ready=ready, _if=changed.did_change)
    # At its start it reads the last minutes of sshd's log.
    spare(name="Spare our own address from bans", _if=changed.did_change)
    service(name="Start fail2ban", unit=UNIT, ready=ready, files=[f"/etc/fail2ban/{JAILS}"])


@operation()
def spare() -> Commands:
    """A reaction to a restart of fail2ban."""
    yield spare_from_bans()


def bans(seconds: int) -> str:
    """A shell test: fail2ban answers within `seconds`, and watches sshd.

    The request of `fail2ban-client status sshd` in fail2ban's protocol, a pickled list; the client takes twenty times
    as long to start. https://github.com/fail2ban/fail2ban/blob/master/fail2ban/client/csocket.py
    """
    return f"""\
perl -e 'alarm {seconds}; $/ = "<F2B_END_COMMAND>"; socket S, 1, 1, 0 or exit 1;
connect S, pack "Sa108", 1, "/run/fail2ban/fail2ban.sock" or exit 1;
syswrite S, "(S\\x27status\\x27\\nS\\x27sshd\\x27\\nl.$/"; exit(<S> !~ /Currently banned/)'"""


def jails(settings: Settings, is_web: bool) -> str:
    return render("fail2ban/jails", settings=settings, is_web=is_web)
