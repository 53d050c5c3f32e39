"""Debian packages, installed without needless updates."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.facts.packages import BROKEN_PACKAGES, Packages
from slipway.ops.commands import Commands

# A repository's lists are refreshed only on the way to an installation: an update on every run would be a change on
# every run. Error-Mode=any, or apt-get update reports success without a network.
APT_UPDATE = "apt-get update -q -o APT::Update::Error-Mode=any"
APT_INSTALL = (
    "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)
APT_LISTS = "/var/lib/apt/lists"
# The time of the last refresh: apt gives a list its age on the mirror. Any other refresh removes this file.
REFRESHED = f"{APT_LISTS}/slipway-refreshed"
APT_SOURCES = "/etc/apt/sources.list.d"


def _refresh(without: str) -> str:
    """The command that refreshes apt's lists, but for those of the file `without` ("": of all)."""
    without = shlex.quote(without)
    others = f"{APT_SOURCES} ! -type d ! -path {without}"
    # apt leaves it to the kernel when a list reaches the disk, and goes on with one that a power cut emptied: empty
    # ones go, and new ones are on the disk before they count.
    # For the lock on its lists apt has no wait as for dpkg's (`apt_lock_timeout`), so the command is repeated.
    return f"""\
umask 022
refresh() {{
  for try in 1 2 3 4 5 6; do [ $try = 1 ] || sleep 5; {APT_UPDATE} "$@" && sync {APT_LISTS}/*_* && return; done
  return 1
}}
[ -z "$(find {APT_LISTS} -name '*_Packages' -empty -print -delete)" ] || rm -f {REFRESHED}
if [ -n "$(find {REFRESHED} -mmin -60 2>/dev/null)" ]; then
  for source in $(find {others} -name '*.sources' -newer {REFRESHED}); do
    refresh -o Dir::Etc::sourcelist=$source -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 || exit
  done
elif [ -e {without} ]; then
  parts=$(mktemp -d); find {others} -exec ln -s {{}} $parts ';'
  refresh -o Dir::Etc::sourceparts=$parts -o APT::Get::List-Cleanup=0 || failed=yes
  rm -r $parts; [ -z "$failed" ]
else
  refresh && touch {REFRESHED}
fi"""


# An apt command that was cut off leaves dpkg in the middle, and apt refuses all else until that is finished. What was
# being unpacked then must be installed again.
FINISH = (
    f"dpkg --configure -a; broken=$({BROKEN_PACKAGES} | cut -d= -f2);"
    f' [ -z "$broken" ] || {APT_INSTALL} --reinstall $broken'
)


@operation()
def install(packages: Mapping[str, Sequence[str]], without: str = "") -> Commands:
    """Make sure that the Debian packages of some components are installed, in one run of apt.

    `packages` maps what a plan calls a component to its packages. apt's lists are refreshed first: all of them if that
    is more than an hour ago, else those of sources that are new since. `without` is a file of sources that may not be
    trusted yet: apt would refuse to refresh anything.
    """
    found = host.get_fact(Packages, packages=tuple(sorted({*chain(*packages.values())})))
    missing = {component: sorted(set(names) - found["installed"]) for component, names in packages.items()}
    if not any(missing.values()) and not found["broken"]:
        return
    if found["broken"]:
        notes.note(f"partially unpacked: {', '.join(sorted(found['broken']))}")
    for component, names in missing.items():
        if names:
            notes.note(f"{component}: not installed: {', '.join(names)}")
    yield _refresh(without)
    # Where nothing is missing it still fails for what is half unpacked, and that is finished.
    command = f"{APT_INSTALL} {' '.join(map(shlex.quote, sorted({*chain(*missing.values())})))}"
    # Scripts of packages make files, and expect the usual umask: a login's may be 077.
    yield f"umask 022; {command} || {{ {FINISH}; {command}; }}"
