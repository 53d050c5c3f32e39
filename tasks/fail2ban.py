"""fail2ban: who fails to log in over and over, or floods the login, is shut out for a while."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import run
from slipway.engine.components import Drift, component
from slipway.ops.commands import Commands
from slipway.ops.files import config_tree
from slipway.ops.templates import render
from slipway.ops.units import Ready, restart, service
from slipway.settings.model import Settings
from slipway.tasks.guard import spare_from_bans

# python3-systemd reads the journal, the only place that Debian 12's sshd writes to. nftables has a table for bans
# alone: UFW may load its rules anew without losing them, and `ufw status` stays what the settings say.
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


@component(packages=PACKAGES, units=(UNIT,), health=health, drifts=DRIFTS)
def fail2ban(settings: Settings) -> None:
    """After Nginx, whose log it reads."""
    reads_nginx = "web" in host.groups and "nginx" in run.of(host.state).deployed
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
    # It reads what sshd has logged in the last minutes.
    spare(name="Spare our own address from bans", _if=changed.did_change)
    service(name="Start fail2ban", unit=UNIT, ready=ready, files=[f"/etc/fail2ban/{JAILS}"])


@operation()
def spare() -> Commands:
    """As a reaction to a start of fail2ban."""
    yield spare_from_bans()


def bans(seconds: int) -> str:
    """A shell test: fail2ban answers within `seconds`, and watches sshd.

    `fail2ban-client status sshd` in fail2ban's own words, a pickled list; the client itself takes twenty times as long
    to start. https://github.com/fail2ban/fail2ban/blob/master/fail2ban/client/csocket.py
    """
    return f"""\
perl -e 'alarm {seconds}; $/ = "<F2B_END_COMMAND>"; socket S, 1, 1, 0 or exit 1;
connect S, pack "Sa108", 1, "/run/fail2ban/fail2ban.sock" or exit 1;
syswrite S, "(S\\x27status\\x27\\nS\\x27sshd\\x27\\nl.$/"; exit(<S> !~ /Currently banned/)'"""


def jails(settings: Settings, is_web: bool) -> str:
    return render("fail2ban/jails", settings=settings, is_web=is_web)
