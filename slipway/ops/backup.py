"""Backups of replaced configuration files, restored if the unit fails to start with the new ones."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

# A valid configuration may still fail at the start: a port is in use, an address is not the host's. The replaced files
# are kept here, by unit, until the unit has started with the new ones; if it fails to, they are restored.
KEPT = "/var/lib/slipway/kept"


def backup(paths: Iterable[str], unit: str) -> str:
    """Shell commands that back up `paths` until `unit` has started with what replaces them.

    Only if the unit is running, as its configuration works then. An existing backup, of an interrupted run, is kept: it
    is the older one.
    """
    kept = f"{KEPT}/{unit}"
    steps = [f"umask 077; mkdir -p {kept}"]
    for path in map(shlex.quote, paths):
        copy = f"mkdir -p {kept}$(dirname {path}); cp -a {path} {kept}{path}"
        there = f"if [ -e {path} ] || [ -L {path} ]; then {copy}; fi"
        # The path is recorded last: one that is recorded without a copy did not exist.
        steps.append(f"grep -sqxF {path} {kept}/paths || {{ {there}; sync -f {kept}; echo {path} >> {kept}/paths; }}")
    return f"if systemctl is-active --quiet {unit}; then ( {'; '.join(steps)} ); fi"


def restore(kept: str) -> str:
    """Shell commands that restore the backup in the folder `kept`, a path or a shell variable."""
    return f"""\
while read -r path; do
  old=$path.slipway-old
  if [ -e {kept}$path ] || [ -L {kept}$path ]; then cp -a {kept}$path $old && mv -fT $old $path; else rm -f $path; fi
done < {kept}/paths"""


def or_roll_back(attempt: str, unit: str, reload: bool = False) -> str:
    """`attempt`, which starts `unit`; if it fails, restore the backup and exit with 1.

    `reload`: the unit still runs with the previous configuration, so it is reloaded rather than restarted.
    """
    kept, verb = f"{KEPT}/{unit}", "reload-or-restart" if reload else "restart"
    back = f"""\
[ -s {kept}/paths ] || exit 1
{restore(kept)}
systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null
for socket in $(grep -o '[^/]*[.]socket$' {kept}/paths); do systemctl stop {unit}; systemctl restart $socket; done
systemctl {verb} {unit}
echo "{unit} failed to start; previous configuration restored:" $(cat {kept}/paths) >&2
rm -rf {kept}; exit 1"""
    return f"( {attempt} ) || {{\n{back}\n}}"
