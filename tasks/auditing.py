"""Intrusion detection: daily integrity checks of files (AIDE), and an audit log of account changes (auditd)."""

from __future__ import annotations

from pyinfra import host

from slipway.adoption import OURS
from slipway.engine.components import Drift, component
from slipway.engine.notes import skipped
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
    ensure(
        name="Load the audit rules",
        check="auditctl -l | grep -q modules && auditctl -l | grep -q accounts",
        command="augenrules --load > /dev/null",
    )
    service(name="Start auditd", unit="auditd.service")


def files() -> dict[str, str]:
    values = {"folder": FOLDER, "config": CONFIG}
    units = ("slipway-integrity.service", TIMER)
    return {
        CONFIG: render("auditing/aide.conf", **values),
        **{f"/etc/systemd/system/{unit}": render(f"auditing/{unit}", **values) for unit in units},
    }
