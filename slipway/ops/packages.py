"""Install Debian packages, refreshing apt's lists only when needed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import notes
from slipway.facts.apt import CONFLICT, LIST_TARGETS, AptSources, Sources
from slipway.facts.earlier import FIREWALLS
from slipway.facts.packages import BROKEN_PACKAGES, Packages
from slipway.ops.commands import Commands
from slipway.settings import limits

# Lists are refreshed only before an installation: a refresh on every run would be a change on every run.
# Error-Mode=any, as apt-get update otherwise reports success without a network.
APT_UPDATE = "apt-get update -q -o APT::Update::Error-Mode=any"
# Nobody is there to answer debconf, apt-listbugs and apt-listchanges; and needrestart, where a server has it, would
# restart services after each installation.
UNATTENDED = (
    "DEBIAN_FRONTEND=noninteractive APT_LISTBUGS_FRONTEND=none APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1"
)
APT_INSTALL = (
    f"{UNATTENDED} apt-get install -y -q --no-install-recommends"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)
# A package in conflict may be a server that runs. Only firewalls that UFW replaces may go: adoption.network asks about
# them by name.
NO_REMOVE = f"""\
keep='--no-remove -o APT::Get::AutomaticRemove=false'
! dpkg-query -W -f '${{db:Status-Status}}\\n' {FIREWALLS} 2> /dev/null | grep -qx installed || keep="""
APT_LISTS = "/var/lib/apt/lists"
# Its mtime is the last refresh: apt gives a list the mirror's mtime. Any other refresh removes this file.
REFRESHED = f"{APT_LISTS}/slipway-refreshed"
APT_SOURCES = "/etc/apt/sources.list.d"


# Files of sources that a refresh has left out, and the folder with links to the others.
LEFT_OUT, PARTS = "/run/slipway-left-out-sources", "/run/slipway-sources"
WITH_PARTS = f"-o Dir::Etc::sourceparts={PARTS} -o APT::Get::List-Cleanup=0"
# The system's own sources, which a server can't do without.
_ESSENTIAL = "/etc/apt/sources.list|*/debian.sources|*/ubuntu.sources"
_ALL_BUT = f"""\
all_but() {{
  rm -rf {PARTS}; mkdir -p {PARTS}; find {APT_SOURCES} ! -type d -exec ln -s {{}} {PARTS} ';'
  for file; do rm -f {PARTS}/${{file##*/}}; done
}}"""
# apt names the holder of dpkg's lock while it waits.
_HOLDER = r"""printf '%s\n' "$said" | tr '\r' '\n' |
    grep -oE '^E: .*|Could not get lock [^(]*\([^)]*\)' | awk '!seen[$0]++'"""
# apt waits for dpkg's lock (`apt_lock_timeout`, in its configuration by then) but not for the lock on its lists, so the
# command is retried for as long. The files come from `indextargets`: most error messages name only an address.
_FUNCTIONS = f"""\
refresh() {{
  eval "$(apt-config shell seconds DPkg::Lock::Timeout)"; tries=$((${{seconds:-0}} / 5 + 1))
  until said=$(LC_ALL=C {APT_UPDATE} "$@" 2>&1) && sync {APT_LISTS}/*_*; do
    case $said in *{APT_LISTS}/lock*) ;; *) return 1 ;; esac
    tries=$((tries - 1)); [ $tries -gt 0 ] || return 1
    sleep 5
  done
}}
failing() {{
  wrong=$(printf '%s\\n' "$said" | grep -E '^(E:|Err:|W:.*(GPG error|Failed to fetch))')
  {LIST_TARGETS} --format '$(SOURCESENTRY) $(SITE) $(RELEASE)' 2> /dev/null | sort -u |
    while read -r entry site release; do
      case $wrong in *"$site $release "* | *"$site/dists/$release/"*) echo "${{entry%:*}}" ;; esac
    done | sort -u
}}
{_ALL_BUT}
are_others() {{
  for file; do
    case $file in {_ESSENTIAL}) return 1 ;; esac; ! grep -qs 'by Slipway' $file || return 1
  done
  [ $# != 0 ]
}}
give_up() {{
  printf '%s\\n' "$said" | grep -E '^(Err|E|W):|^  ' | awk '!seen[$0]++'
  for file in $(failing); do echo "the source is in $file: fix or remove it (\\`apt-get update\\` shows more)"; done
  exit 1
}}"""


def _refresh(without: Sequence[str]) -> str:
    """The command that refreshes apt's lists, except those of the files `without`. A failing source file that is
    neither the system's nor Slipway's is left out."""
    files = [shlex.quote(file) for file in without]
    is_there = f"{{ {' || '.join(f'[ -e {file} ]' for file in files)}; }}" if files else "false"
    left_out = " ".join(files)
    and_not = "".join(f"! -path {file} " for file in files)
    # apt does not sync its lists, and accepts one that a power cut has emptied: remove empty ones, and sync new ones
    # before they count.
    return f"""\
umask 022
{_FUNCTIONS}
[ -z "$(find {APT_LISTS} -name '*_Packages' -empty -print -delete)" ] || rm -f {REFRESHED}
if [ -n "$(find {REFRESHED} -mmin -60 2>/dev/null)" ]; then
  for source in $(find {APT_SOURCES} ! -type d {and_not}-name '*.sources' -newer {REFRESHED}); do
    refresh -o Dir::Etc::sourcelist=$source -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 ||
      are_others $source || give_up >&2
  done
  exit 0
fi
rm -f {LEFT_OUT}; set --
if {is_there}; then all_but {left_out}; set -- {WITH_PARTS}; fi
if ! refresh "$@"; then
  others=$(failing); are_others $others || give_up >&2
  all_but {left_out} $others; refresh {WITH_PARTS} || give_up >&2
  echo "$others" > {LEFT_OUT}
fi
rm -rf {PARTS}; {is_there} || touch {REFRESHED}"""


# The lists of all sources, at once; it prints the files that it leaves out. What follows takes WITH_PARTS if there are
# some.
REFRESH_ALL = f"""\
umask 022
{_FUNCTIONS}
find {APT_LISTS} -name '*_Packages' -empty -delete; rm -f {LEFT_OUT} {REFRESHED}
if ! refresh; then
  others=$(failing); are_others $others || give_up >&2
  all_but $others; refresh {WITH_PARTS} || give_up >&2
  echo "$others" | tee {LEFT_OUT}
fi
touch {REFRESHED}"""

# After an interrupted apt command, apt refuses everything until dpkg is reconfigured. Packages that were being unpacked
# must be reinstalled.
FINISH = (
    f"{UNATTENDED} dpkg --force-confdef --force-confold --configure -a; broken=$({BROKEN_PACKAGES} | cut -d= -f2);"
    f' [ -z "$broken" ] || {APT_INSTALL} --reinstall $broken'
)


def _look_at_sources() -> None:
    """Note which sources are left out. Raises PyinfraError if packages can't be installed."""
    found = host.get_fact(AptSources, seconds=limits.of_host(host).reach)
    for entry, reason in found.others.items():
        notes.note(f"{entry}: left out, as apt can't use it: {reason}")
    # A broken source of Slipway's blocks nothing: its component rewrites it before installing from it.
    for entry, reason in found.ours.items():
        notes.note(f"{entry}: apt can't use it, to be rewritten: {reason}")
    if problems := source_problems(found):
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise PyinfraError(f"{host.name}: no package can be installed; nothing was changed.\n{lines}")


def source_problems(found: Sources) -> list[str]:
    """The errors that keep apt from installing, each with its file and what to do."""
    problems = [
        f"apt: found {entry} failing, need it to install packages: {reason} (fix it, or check the host's network)"
        for entry, reason in found.failing.items()
    ]
    if found.unreadable:
        remedy = "fix the file, or remove the source" if CONFLICT not in found.unreadable else "remove it from one"
        problems.append(
            f"apt: found sources that it can't read, need them to install packages: {found.unreadable} ({remedy})"
        )
    return problems


@operation()
def install(packages: Mapping[str, Sequence[str]], without: Sequence[str] = ()) -> Commands:
    """Make sure that the Debian packages of some components are installed, in one run of apt.

    `packages` maps a component's name in the plan to its packages. apt's lists are refreshed first: all of them if the
    last refresh is more than an hour old, else those of sources added since. `without` are source files whose keys may
    not be trusted yet: they would make any refresh fail.
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
    if not host.state.is_executing:
        _look_at_sources()
    yield _refresh(without)
    # Package scripts expect umask 022; the login's may be 077.
    # If nothing is missing, apt still fails if a package is half unpacked, which runs FINISH.
    wanted = " ".join(map(shlex.quote, sorted({*chain(*missing.values())})))
    yield f"""\
umask 022; parts=
{NO_REMOVE}
{_ALL_BUT}
if [ -s {LEFT_OUT} ]; then all_but $(cat {LEFT_OUT}); parts='{WITH_PARTS}'; fi
apt_install() {{ {APT_INSTALL} $keep $parts {wanted}; }}
said=$(apt_install 2>&1) || {{
  case $said in *'E: '*lock-frontend*) {_HOLDER} >&2; exit 1 ;; esac
  {FINISH}; apt_install || exit
}}
rm -rf {PARTS}"""
