"""Files of somebody else's that come after Slipway's own, and say something else: what is in force is what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pyinfra import host

from slipway.adoption import Obstacle
from slipway.facts.base import Output
from slipway.settings.model import Settings
from slipway.tasks.adoption_facts import earlier

# What Slipway's units say of their sandboxes and limits. systemd.exec(5), systemd.resource-control(5)
OF_UNITS = (
    "Protect[A-Za-z]+|Private[A-Za-z]+|Restrict[A-Za-z]+|NoNewPrivileges|SystemCall[A-Za-z]+|[A-Za-z]*Capabilit[A-Za-z]+"
    "|MemoryDenyWriteExecute|LockPersonality|ReadWritePaths|MemoryHigh|MemoryMax|TasksMax|OOMScoreAdjust|User|Group"
    "|ExecStart|DynamicUser|IPAddress[A-Za-z]+|UMask|LimitNOFILE"
)
# Slipway's file, an extended regular expression of what it says, and the files beside it.
BESIDE = (
    ("slipway.conf", "^[[:space:]]*(SystemMaxUse|Storage)=", "/etc/systemd/journald.conf.d/*.conf"),
    ("20auto-upgrades", '^[^/#]*APT::Periodic::[A-Za-z-]+[^"]*"0', "/etc/apt/apt.conf.d/*"),
    ("52slipway", "^[^/#]*Unattended-Upgrade::Automatic-Reboot", "/etc/apt/apt.conf.d/*"),
    ("slipway.conf", "^[^#]*[[:space:]]core[[:space:]]", "/etc/security/limits.d/*.conf"),
    ("slipway.local", "^[[:space:]]*bantime[[:space:]]*=", "/etc/fail2ban/jail.d/*.local"),
)
AFTER = """\
after() {
  ours=$1; pattern=$2; shift 2
  for file do
    last=$(printf '%s\\n' "$ours" "${file##*/}" | LC_ALL=C sort | tail -n 1)
    [ "$last" = "$ours" ] || grep -HEs "$pattern" "$file"
  done
}
"""


def overruled(settings: Settings) -> Iterator[Obstacle]:
    """What is in force instead of what Slipway's files say. The order is that of the files' names."""
    lines = [f"after {ours} '{pattern}' {files}" for ours, pattern, files in BESIDE]
    dropins = "/etc/systemd/system/{}.d/*.conf"
    for unit in ("nginx.service", "mongod.service"):
        lines.append(f"after slipway.conf '^({OF_UNITS})=' {dropins.format(unit)}")
    # Those of a backend that Slipway has not made yet are told by adoption.backend.
    for site in [] if earlier(settings) else settings.all_sites:
        for one in site.all_services:
            # They come after the unit itself, whatever their names.
            lines.append(f"after '' '^({OF_UNITS})=' {dropins.format(f'{site.unit(one)}.service')}")
    for line in host.get_fact(Output, command=AFTER + "\n".join(lines)).splitlines():
        file, _, text = line.partition(":")
        said = re.sub(r"\s+", " ", text.strip())
        yield Obstacle(f"{file}: {said}", "this line, which overrules what Slipway sets", "no such line")
