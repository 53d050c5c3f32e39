"""What a configuration replaces is kept until its unit has started with it, and is restored where it has not."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

# A configuration that its program accepts may still not start: a port is taken, an address is not the host's. What it
# replaces is kept here, by unit, until the unit has come up with it; if that one does not, what was there comes back.
KEPT = "/var/lib/slipway/kept"


def backup(paths: Iterable[str], unit: str) -> str:
    """Shell commands that keep what is at `paths` until `unit` has come up with what replaces it.

    Only of a unit that runs: its configuration works. What is kept from an interrupted run is the older one, and stays.
    """
    kept = f"{KEPT}/{unit}"
    steps = [f"umask 077; mkdir -p {kept}"]
    for path in map(shlex.quote, paths):
        copy = f"mkdir -p {kept}$(dirname {path}); cp -a {path} {kept}{path}"
        there = f"if [ -e {path} ] || [ -L {path} ]; then {copy}; fi"
        # Written down last: a path without a copy was not there.
        steps.append(f"grep -sqxF {path} {kept}/paths || {{ {there}; sync -f {kept}; echo {path} >> {kept}/paths; }}")
    return f"if systemctl is-active --quiet {unit}; then ( {'; '.join(steps)} ); fi"


def restore(kept: str) -> str:
    """Shell commands that put what was kept in the folder `kept`, a path or a shell's variable, where it was."""
    return f"""\
while read -r path; do
  old=$path.slipway-old
  if [ -e {kept}$path ] || [ -L {kept}$path ]; then cp -a {kept}$path $old && mv -fT $old $path; else rm -f $path; fi
done < {kept}/paths"""


def or_roll_back(attempt: str, unit: str, reload: bool = False) -> str:
    """`attempt`, which starts `unit`, and exit code 1 where it fails: what was kept comes back then.

    `reload` says that the unit serves on with what was there before, and only is to read it.
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
