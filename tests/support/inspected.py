"""`slipway inspect` on lab hosts."""

from __future__ import annotations

import json
from typing import Any

from support.lab_host import LabHost

# What the lab's inventory says of a host that `slipway inspect` has to be told: how to connect, and where the lab's
# stand-ins for the Internet are.
CONNECTION = ("ssh_key", "ssh_known_hosts_file")
STAND_INS = ("mongodb_apt_url", "mongodb_key_url", "mongodb_key_fingerprint", "mongodb_version", "tls_acme_server")
# Prints the state of a host: each file with its size and times, which reveal a change, except those that a login, the
# clock and running programs write; the kernel's firewall rules without counters; and the running units.
STATE = """\
find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /var/log -o -path /var/lib/mongodb \
  -o -path /var/lib/fail2ban -o -path /var/lib/systemd \\) -prune -o ! -type d -printf '%p %m %U:%G %s %T@ %C@\\n' |
  LC_ALL=C sort
{ iptables-save; ip6tables-save; nft list tables; } 2>/dev/null | sed -E '/^#/d; s/\\[[0-9:]+\\]//'
systemctl list-units --all --plain --no-legend --type=service,socket,timer | awk '{print $1, $2, $3}' |
  grep -vE '^(user|session|apt-daily|systemd-tmpfiles)' """


def arguments(host: LabHost, user: str = "", names: tuple[str, ...] = (*CONNECTION, *STAND_INS)) -> list[str]:
    """The arguments HOST and --data; `user` is "" for the default login."""
    at = f"{user}@" if user else ""
    data = {name: value for name, value in host.data.items() if name in names}
    return [f"{at}{host.record.address}:{host.record.ssh_port}", *(f"--data={name}={data[name]}" for name in data)]


def inspect(host: LabHost, user: str = "", *more: str) -> dict[str, Any]:
    """The report of a host."""
    done = host.slipway("inspect", *arguments(host, user), "--json", "-", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def fates(report: dict[str, Any], kind: str, key: str) -> dict[str, str]:
    """The verdicts of the things of a kind, by one of their fields; the first of several."""
    found: dict[str, str] = {}
    for thing in report[kind]:
        name = thing[key]
        if isinstance(name, list):
            name = name[0] if name else ""
        found[str(name)] = thing["fate"]["verdict"]
    return found
