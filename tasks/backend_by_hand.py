"""A backend that somebody else has set up: it serves on under another name until Nginx is led to Slipway's.

Its processes run on as they are, in a scope (systemd.scope(5)); a unit of that other name starts it anew where they end
or the server restarts.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption import OURS
from slipway.engine import notes
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.settings.model import Settings

FOLDER = "/etc/systemd/system"
# Shell functions: a unit's processes, the ports that they listen on, and whether all of some are listened on.
PROCESSES = r"""processes() { grep -lsE "/system[.]slice/$1(/|\$)" /proc/[0-9]*/cgroup | cut -d/ -f3; }"""
PORTS = (
    PROCESSES
    + """
ports() {
  for pid in $(processes $1); do ss -Hltnp | sed -n "s/^.* [^ ]*:\\([0-9]*\\) .*pid=$pid,.*/\\1/p"; done | sort -u
}
listening() { for port in $*; do ss -Hltn sport = :$port | grep -q . || return 1; done; }"""
)


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
    """Give the previous backend another name, where it takes no port of the next one's. It serves on: its processes
    move into a scope. Where they can't, it is away for the time of one restart."""
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
  before=$(ports {unit})
  {_move(unit, scope(settings), kept)}
  if ! listening $before || ! systemctl is-active --quiet {scope(settings)}; then
    systemctl stop {scope(settings)} 2> /dev/null; systemctl stop {unit}; systemctl start {kept}
    for try in $(seq {seconds * 5}); do listening $before && break; sleep 0.2; done
  fi
  if ! listening $before; then
    journalctl -u {kept} -n 20 --no-pager >&2
    systemctl stop {kept}; systemctl start {unit}; rm {kept}; systemctl daemon-reload
    echo "{kept} does not listen as {unit} did, which runs again" >&2; exit 1
  fi
fi
! systemctl is-enabled --quiet {unit} 2> /dev/null || systemctl --quiet enable {kept}
rm -rf /run/systemd/system/{unit}.d/by-hand.conf
systemctl --quiet disable {unit} 2> /dev/null; rm {unit}; systemctl daemon-reload"""


def scope(settings: Settings) -> str:
    """What the previous backend's processes are in meanwhile."""
    return f"{settings.backend_unit}-by-hand.scope"


def _move(unit: str, into: str, kept: str) -> str:
    """A command that moves a unit's processes into a scope, and leaves the unit without any. `kept` is started where
    all of them end. One that was cut off goes on where it was."""
    manager = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
    properties = {
        "PIDs": "au $# $*",
        "Slice": "s system.slice",
        "OnSuccess": f"as 1 {kept}",
        "OnFailure": f"as 1 {kept}",
        "CollectMode": "s inactive-or-failed",
        "TimeoutStopUSec": "t 30000000",
    }
    given = " ".join(f"{name} {value}" for name, value in properties.items())
    dropin = f"/run/systemd/system/{unit}.d"
    # Its stop must neither end them nor take away what they use, and nothing may start it anew.
    options = "\\n".join(
        ("[Service]", "KillMode=none", "Restart=no", "ExecStop=", "ExecStopPost=", "RuntimeDirectoryPreserve=yes", "")
    )
    return f"""\
mkdir -p {dropin}; printf '{options}' > {dropin}/by-hand.conf; systemctl daemon-reload
  set -- $(processes {unit})
  [ $# = 0 ] || busctl --quiet call {manager} StartTransientUnit 'ssa(sv)a(sa(sv))' {into} fail \\
    {len(properties)} {given} 0 2> /dev/null
  for try in $(seq 20); do ! systemctl is-active --quiet {into} || break; sleep 0.1; done
  # A process that began as the others moved.
  set -- $(processes {unit})
  [ $# = 0 ] || busctl --quiet call {manager} AttachProcessesToUnit ssau {into} / $# $* 2> /dev/null
  if systemctl is-active --quiet {into} && [ -z "$(processes {unit})" ]; then systemctl stop {unit}; fi
  rm -rf {dropin}/by-hand.conf; systemctl daemon-reload"""


@operation()
def stop_serving(settings: Settings) -> Commands:
    """Nobody asks the previous backend any more."""
    _, kept = units(settings)
    if is_by_hand(settings):
        notes.note(f"{kept}: removed")
        yield (
            f"systemctl --quiet disable --now {kept} 2> /dev/null; rm -f {FOLDER}/{kept}; systemctl daemon-reload;"
            f" systemctl stop {scope(settings)} 2> /dev/null; systemctl reset-failed {kept} 2> /dev/null || true"
        )
