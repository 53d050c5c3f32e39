"""The check of apt: security updates that wait, what keeps them from being known, and a reboot that is required.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import re

from slipway.alarms.host import Facts, Host
from slipway.alarms.problems import DAY, HOUR, MINUTE, Found, Memory, Problem

UPDATE_DAYS, REBOOT_DAYS = 3, 3
# By HOOK, apt touches REFRESHED after a refresh of its lists in which not all sources failed.
HOOK, REFRESHED = "/etc/apt/apt.conf.d/52slipway", "/var/lib/apt/periodic/slipway-refreshed"
LISTS_DAYS = 3
# While dpkg works, apt can't compute updates.
UPDATES_RETRY, UPDATES_FAILING = 10 * MINUTE, HOUR
# dpkg writes it with each package.
STATUS = "/var/lib/dpkg/status"


def updates(facts: Facts, host: Host, memory: Memory) -> Found:
    """Pending security updates, checked once an hour, what keeps them from being known, and a required reboot."""
    now = host.now()
    refreshed = max(memory.setdefault("lists_since", now), host.mtime(REFRESHED))
    if host.mtime(HOOK) and now - refreshed > LISTS_DAYS * DAY:
        text = f"apt's lists were not refreshed for {(now - refreshed) / DAY:.0f} days"
        command = "apt-get update; systemctl status apt-daily.timer apt-daily"
        yield "lists", Problem(text, "security updates are neither known nor installed", command, at_once=True)
    if now - memory.get("updates_time", 0) > HOUR or _may_be_over(host, memory, now):
        memory["updates_asked"] = now
        code, text = host.run("apt-get", "--simulate", "--quiet", "dist-upgrade", seconds=60)
        if code:
            memory.setdefault("updates_failing", now)
            memory["updates_time"] = now - HOUR + UPDATES_RETRY
        else:
            memory.pop("updates_failing", None)
            waiting = re.findall(r"^Inst (\S+) .*(?:-security|Debian-Security)", text, re.MULTILINE)
            first = memory.get("updates", {})
            memory["updates"] = {name: first.get(name, now) for name in waiting}
            memory["updates_time"] = now
    if now - memory.get("updates_failing", now) > UPDATES_FAILING:
        text = "apt has not been able to compute updates for an hour"
        yield "apt", Problem(text, "security updates are not installed", "apt-get check; dpkg --audit", at_once=True)
    if late := _late(memory, now):
        text = f"{len(late)} security updates pending for more than {UPDATE_DAYS} days: {', '.join(late[:5])}"
        command = "unattended-upgrade --dry-run -v; systemctl status apt-daily-upgrade"
        yield "updates", Problem(text, "updates are not installed", command, at_once=True)
    since = host.mtime("/run/reboot-required")
    if since and now - since > REBOOT_DAYS * DAY:
        text = f"a reboot has been required for more than {REBOOT_DAYS} days"
        yield (
            "reboot",
            Problem(text, "an update is not active; reboot_time activates it at night", "reboot", at_once=True),
        )


def _late(memory: Memory, now: float) -> list[str]:
    return [name for name, then in memory.get("updates", {}).items() if now - then > UPDATE_DAYS * DAY]


def _may_be_over(host: Host, memory: Memory, now: float) -> bool:
    """Whether packages have changed since there was something to report: nobody waits an hour to see it resolved."""
    is_open = "updates_failing" in memory or bool(_late(memory, now))
    return is_open and host.mtime(STATUS) > memory.get("updates_asked", now)
