"""A backend that somebody else has set up: it serves on under another name until Nginx is led to Slipway's."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption import OURS
from slipway.engine import notes
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.settings.model import Settings

FOLDER = "/etc/systemd/system"
# Shell functions: the ports that a unit's processes listen on, and whether all of some are listened on.
PORTS = """\
ports() {
  for pid in $(cat /sys/fs/cgroup/system.slice/$1/cgroup.procs 2> /dev/null); do
    ss -Hltnp | sed -n "s/^.* [^ ]*:\\([0-9]*\\) .*pid=$pid,.*/\\1/p"
  done | sort -u
}
listening() { for port in $*; do ss -Hltn sport = :$port | grep -q . || return 1; done; }"""


def units(settings: Settings) -> tuple[str, str]:
    """The unit, and the name that it has meanwhile."""
    return f"{settings.backend_unit}.service", f"{settings.backend_unit}-by-hand.service"


def is_by_hand(settings: Settings) -> bool:
    """Whether the backend's unit is somebody else's, or was until an apply that was cut off."""
    unit, kept = (f"{FOLDER}/{name}" for name in units(settings))
    script = f"if [ -e {kept} ] || {{ [ -f {unit} ] && ! grep -q '{OURS}' {unit}; }}; then echo yes; fi"
    return bool(host.get_fact(Output, command=script))


@operation()
def keep_serving(settings: Settings) -> Commands:
    """Start the previous backend as a unit of another name, where it takes no port of the next one's: it is away for
    the time of one restart."""
    unit, kept = units(settings)
    there = f"cd {FOLDER} && [ -f {unit} ] && ! grep -q '{OURS}' {unit} && echo yes"
    if not host.get_fact(Output, command=there):
        return
    notes.note(f"{unit} -> {kept}, until Nginx uses the new one")
    seconds = settings.backend_health_seconds
    yield f"""set -u; cd {FOLDER}
{PORTS}
cp -a {unit} {kept}.new && mv -fT {kept}.new {kept} && systemctl daemon-reload || exit 1
if systemctl is-active --quiet {unit}; then
  before=$(ports {unit}); systemctl stop {unit}; systemctl start {kept}
  for try in $(seq {seconds * 5}); do listening $before && break; sleep 0.2; done
  if ! listening $before; then
    journalctl -u {kept} -n 20 --no-pager >&2
    systemctl stop {kept}; systemctl start {unit}; rm {kept}; systemctl daemon-reload
    echo "{kept} does not listen as {unit} did, which runs again" >&2; exit 1
  fi
fi
! systemctl is-enabled --quiet {unit} 2> /dev/null || systemctl --quiet enable {kept}
systemctl --quiet disable {unit} 2> /dev/null; rm {unit}; systemctl daemon-reload"""


@operation()
def stop_serving(settings: Settings) -> Commands:
    """Nobody asks the previous backend any more."""
    _, kept = units(settings)
    if is_by_hand(settings):
        notes.note(f"{kept}: removed")
        yield (
            f"systemctl --quiet disable --now {kept} 2> /dev/null; rm -f {FOLDER}/{kept}; systemctl daemon-reload;"
            f" systemctl reset-failed {kept} 2> /dev/null || true"
        )
