"""Configuration files that are read after Slipway's and override them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pyinfra import host

from slipway.adoption import Obstacle
from slipway.facts.base import Output
from slipway.settings.model import Settings
from slipway.tasks.adoption_facts import earlier

# The sandbox and limit options of Slipway's units. systemd.exec(5), systemd.resource-control(5)
OF_UNITS = (
    "Protect[A-Za-z]+|Private[A-Za-z]+|Restrict[A-Za-z]+|NoNewPrivileges|SystemCall[A-Za-z]+|[A-Za-z]*Capabilit[A-Za-z]+"
    "|MemoryDenyWriteExecute|LockPersonality|ReadWritePaths|MemoryHigh|MemoryMax|TasksMax|OOMScoreAdjust|User|Group"
    "|ExecStart|DynamicUser|IPAddress[A-Za-z]+|UMask|LimitNOFILE"
)
# Slipway's file, an extended regular expression of its options, and the files in the same folder.
BESIDE = (
    ("slipway.conf", "^[[:space:]]*(SystemMaxUse|Storage)=", "/etc/systemd/journald.conf.d/*.conf"),
    ("20auto-upgrades", '^[^/#]*APT::Periodic::[A-Za-z-]+[^"]*"0', "/etc/apt/apt.conf.d/*"),
    ("52slipway", "^[^/#]*Unattended-Upgrade::Automatic-Reboot", "/etc/apt/apt.conf.d/*"),
    ("slipway.conf", "^[^#]*[[:space:]]core[[:space:]]", "/etc/security/limits.d/*.conf"),
    ("slipway.local", "^[[:space:]]*bantime[[:space:]]*=", "/etc/fail2ban/jail.d/*.local"),
)
# A test of the shell itself compares bytes, as systemd, apt and PAM do; a process for each file takes far longer.
AFTER = """\
after() {
  ours=$1; pattern=$2; shift 2
  for file do
    shift
    [ ! "${file##*/}" \\> "$ours" ] || set -- "$@" "$file"
  done
  [ $# = 0 ] || grep -HEs -e "$pattern" -- "$@"
}
"""


def overruled(settings: Settings) -> Iterator[Obstacle]:
    """Lines that override Slipway's files. Files are read in the order of their names."""
    lines = [f"after {ours} '{pattern}' {files}" for ours, pattern, files in BESIDE]
    dropins = "/etc/systemd/system/{}.d/*.conf"
    for unit in ("nginx.service", "mongod.service"):
        lines.append(f"after slipway.conf '^({OF_UNITS})=' {dropins.format(unit)}")
    # For a backend that is not Slipway's yet, adoption.backend reports them.
    for site in [] if earlier(settings) else settings.all_sites:
        for one in site.all_services:
            # Drop-ins come after the unit itself, whatever their names.
            lines.append(f"after '' '^({OF_UNITS})=' {dropins.format(f'{site.unit(one)}.service')}")
    for line in host.get_fact(Output, command=AFTER + "\n".join(lines)).splitlines():
        file, _, text = line.partition(":")
        said = re.sub(r"\s+", " ", text.strip())
        yield Obstacle(f"{file}: {said}", "this line, which overrides Slipway's", "no such line")
