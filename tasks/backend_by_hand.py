"""The previous backend of an adopted server: it keeps serving under another unit name until Nginx uses Slipway's.

Its processes keep running, moved into a scope (systemd.scope(5)); the renamed unit restarts it if they exit or the
server reboots.
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
# Shell functions: a unit's processes, their listening ports, and whether all given ports are listening.
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
    """The unit's name, and its temporary name."""
    return f"{settings.backend_unit}.service", f"{settings.backend_unit}-by-hand.service"


def is_by_hand(settings: Settings) -> bool:
    """Whether the backend's unit is not Slipway's, or was not until an interrupted apply."""
    unit, kept = (f"{FOLDER}/{name}" for name in units(settings))
    script = f"if [ -e {kept} ] || {{ [ -f {unit} ] && ! grep -q '{OURS}' {unit}; }}; then echo yes; fi"
    return bool(host.get_fact(Output, command=script))


@operation()
def keep_serving(settings: Settings) -> Commands:
    """Rename the previous backend's unit, if it uses no port of the next one. It keeps serving, as its processes move
    into a scope; if they can't, it is restarted once."""
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
    """The scope that the previous backend's processes are moved into."""
    return f"{settings.backend_unit}-by-hand.scope"


def _move(unit: str, into: str, kept: str) -> str:
    """A command that moves all of a unit's processes into a scope. `kept` is started when they have all exited. Can be
    repeated after an interruption."""
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
    # Stopping the unit must not kill the processes or remove their runtime directory, nor may systemd restart it.
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
    """Stop the previous backend: Nginx no longer uses it."""
    _, kept = units(settings)
    if is_by_hand(settings):
        notes.note(f"{kept}: removed")
        yield stop_command(settings)


def stop_command(settings: Settings) -> str:
    """A command that stops the previous backend under its temporary names. The unit goes first: the scope starts it."""
    _, kept = units(settings)
    return (
        f"systemctl --quiet disable --now {kept} 2> /dev/null; rm -f {FOLDER}/{kept}; systemctl daemon-reload;"
        f" systemctl stop {scope(settings)} 2> /dev/null; systemctl reset-failed {kept} 2> /dev/null || true"
    )
