"""Intrusion detection: daily integrity checks of files (AIDE), and an audit log of account changes (auditd)."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from slipway.adoption import OURS, Obstacle
from slipway.engine.components import Drift, component
from slipway.engine.notes import skipped
from slipway.facts.base import Output
from slipway.facts.machine import Machine, is_container
from slipway.ops.commands import ensure
from slipway.ops.files import put, put_all
from slipway.ops.templates import render
from slipway.ops.units import know, service
from slipway.settings.model import Settings

# AIDE without Debian's configuration (aide-common), which checks every file and mails the result.
PACKAGES = ["aide"]
FOLDER, CONFIG = "/var/lib/aide", "/etc/aide/aide.conf"
TIMER = "slipway-integrity.timer"
RULES = "/etc/audit/rules.d/slipway.rules"
# What augenrules(8) makes of the files in rules.d at each boot.
COMPILED = "/etc/audit/audit.rules"
# `-e 2` (CIS): the kernel accepts no other rules before the next boot, auditctl(8).
LOCKED = "auditctl -s | grep -qx 'enabled 2'"
LOADED = "{ auditctl -l | grep -q modules && auditctl -l | grep -q accounts; }"
BY_HAND = (
    f"grep -E '^-[aAwW] ' {COMPILED} | while read -r rule; do"
    """ sed 's/[[:space:]]*$//' /etc/audit/rules.d/*.rules | grep -qxF -e "$rule" || printf '%s\\n' "$rule"; done"""
)


def packages(settings: Settings) -> list[str]:
    return PACKAGES if is_container(host.get_fact(Machine)) else [*PACKAGES, "auditd"]


DRIFTS = {
    "the integrity check disabled": Drift(f"systemctl disable --now {TIMER}", "Enable the daily integrity check"),
    "the integrity check's configuration edited": Drift(
        f"echo '!/etc' >> {CONFIG}", "Configure the daily integrity check"
    ),
    "a timer that systemd has not reloaded": Drift("echo '# edited' >> /etc/systemd/system/slipway-integrity.service"),
}


@component(packages=packages, drifts=DRIFTS)
def auditing(settings: Settings) -> None:
    kept = f"{FOLDER}/aide.db.by-hand"
    ensure(
        name="Keep the previous integrity database",
        # The daily check replaces aide.db, which an owner may need to compare the server with.
        check=f"[ ! -s {FOLDER}/aide.db ] || [ -e {kept} ] || grep -qs '{OURS}' {CONFIG}",
        command=f"mv -T {FOLDER}/aide.db {kept}",
        note=f"{FOLDER}/aide.db: moved to {kept}",
    )
    put_all(name="Configure the daily integrity check", files=files())
    know(name="Reload systemd for the integrity check", unit="slipway-integrity.service")
    service(name="Enable the daily integrity check", unit=TIMER)
    if is_container(host.get_fact(Machine)):
        skipped("the audit of accounts (auditd)", "a container has its host's kernel")
        return
    put(name="Configure the audit rules", path=RULES, content=render("auditing/audit.rules"), mode="640")
    if host.get_fact(Output, command=f"! {LOCKED} || {LOADED} || echo locked"):
        skipped("loading the audit rules", "auditd's are locked (-e 2) until the next reboot, which loads them")
    ensure(
        name="Load the audit rules",
        check=f"{LOADED} || {LOCKED}",
        command="augenrules --load > /dev/null",
    )
    service(name="Start auditd", unit="auditd.service")


def rules_by_hand() -> Iterator[Obstacle]:
    """Rules that augenrules(8) would remove from the file that it makes."""
    if rules := host.get_fact(Output, command=BY_HAND).splitlines():
        found = f"{len(rules)} rules that no file in /etc/audit/rules.d has, {rules[0]!r} the first: they would be lost"
        yield Obstacle(COMPILED, found, "them in a file in /etc/audit/rules.d, whose name ends in .rules")


def files() -> dict[str, str]:
    values = {"folder": FOLDER, "config": CONFIG}
    units = ("slipway-integrity.service", TIMER)
    return {
        CONFIG: render("auditing/aide.conf", **values),
        **{f"/etc/systemd/system/{unit}": render(f"auditing/{unit}", **values) for unit in units},
    }
