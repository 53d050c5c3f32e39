"""What keeps a new host from its packages and its site: holds, pins, unmet dependencies, mount options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence

from slipway.facts.apt import WITHOUT_CACHE
from slipway.facts.earlier import FIREWALLS

# Packages and Slipway write here.
FOLDERS = (
    *("/etc", "/etc/letsencrypt", "/etc/nginx", "/etc/ssh", "/etc/systemd/system", "/usr", "/usr/local"),
    *("/var/lib", "/var/backups", "/var/cache", "/var/log", "/var/www"),
)
# Files that Slipway replaces, and /etc/hosts, which it also writes in place: in containers they may be mount points.
REPLACED = ("/etc/localtime", "/etc/timezone")
FILES = ("/etc/hosts", *REPLACED)
# From these programs run: scripts of packages, and libraries of the backend's packages.
PROGRAMS = ("/usr", "/var/lib", "/var/www")
# A package that apt would install: nginx (1.22.1-9 Debian:12.5/stable [amd64])
NEW = re.compile(r"(?P<name>\S+) (\[\S+\] )?\((?P<version>\S+) (?P<origin>[^:\]]+)")
STATE_OF_APT = "/var/lib/apt/lists /var/lib/dpkg/status /etc/apt"
UNREADABLE = "The list of sources could not be read"
# The origins of its own packages, security updates and backports among them.
SYSTEMS = ("Debian", "Ubuntu")


def question(packages: Sequence[str]) -> str:
    """A shell command that prints "mount PATH PLACE OPTIONS" of FOLDERS and FILES; "held NAME" and "refused NAME" of
    packages that are not installed; and of a simulated installation "would NAME (VERSION ORIGIN:...)", "remove NAME",
    "unmet DEPENDENCY" and "error TEXT"."""
    names = " ".join(map(shlex.quote, sorted(packages)))
    return f"""\
for folder in {" ".join([*FOLDERS, *FILES])}; do
  at=$folder; while [ ! -e "$at" ]; do at=${{at%/*}}; at=${{at:-/}}; done
  findmnt -nro TARGET,OPTIONS -T "$at" | sed "s,^,mount $folder ,"
done
dpkg-query -W -f '${{db:Status-Want}} ${{db:Status-Status}} ${{Package}}\\n' {names} |
  sed -nE 's/^hold (not-installed|config-files) /held /p'
# Without its lists apt knows of no package.
ls /var/lib/apt/lists/*_Packages* > /dev/null || exit 0
export LC_ALL=C
# Where apt's cache of its lists is older than these, apt would write it.
cache=; [ -n "$(find /var/cache/apt/pkgcache.bin)" ] &&
  [ -z "$(find {STATE_OF_APT} -newer /var/cache/apt/pkgcache.bin -print -quit)" ] ||
  cache='{WITHOUT_CACHE}'
policy=$(apt-cache $cache policy {names} | awk '
  /^[^ ]/ {{name = substr($1, 1, length($1) - 1); none = 0}}
  / Candidate: / {{none = /\\(none\\)/; if (!none) print "known " name}}
  none && / -[0-9]+$/ {{print "refused " name; none = 0}}')
printf '%s\\n' "$policy" | grep '^refused '
known=$(printf '%s\\n' "$policy" | sed -n 's/^known //p')
apt-get $cache install -q -s --no-install-recommends -o Debug::NoLocking=1 $known 2>&1 |
  sed -nE 's/^Inst /would /p; s/^Remv ([^ ]*).*/remove \\1/p; s/^ (.* : .*)/unmet \\1/p; s/^E: /error /p'"""


def problems(answer: str, of_system: Collection[str]) -> list[str]:
    """The problems in the output of `question`, a line each. `of_system` are the packages that are to be the system's
    own."""
    return list(dict.fromkeys(_problems(answer.splitlines(), of_system)))


def _problems(lines: Sequence[str], of_system: Collection[str]) -> Iterator[str]:
    # Sources that apt can't read are reported as such (ops.packages.source_problems).
    read_only: set[str] = set()
    is_explained = any(line.startswith("unmet ") or UNREADABLE in line for line in lines)
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "mount":
            folder, place, options = [*rest.split(" "), "", ""][:3]
            if folder in FILES and place != folder:
                continue
            if folder in REPLACED:
                need = f"it in the file system of its folder (umount {place}, and no such mount of the container's)"
                yield f"mount {place}: found a file that is mounted by itself, need {need}"
            elif "ro" in options.split(",") and place not in read_only:
                read_only.add(place)
                yield f"mount {place}: found it read-only, need {folder} writable (mount -o remount,rw {place})"
            if "noexec" in options.split(",") and folder in PROGRAMS:
                need = f"programs to run from {folder} (mount -o remount,exec {place}, and in /etc/fstab)"
                yield f"mount {place}: found the option noexec, need {need}"
        elif kind == "held":
            yield f"package {rest}: found it on hold and not installed, need it (apt-mark unhold {rest})"
        elif kind == "refused":
            need = f"a pin that allows it (apt-cache policy {rest}; the files in /etc/apt/preferences.d)"
            yield f"package {rest}: found a pin by which apt never installs it, need {need}"
        elif kind == "would" and (new := NEW.match(rest)) and new["name"] in of_system:
            if not new["origin"].startswith(SYSTEMS):
                found = f"version {new['version']} of {new['origin']} to be installed"
                need = "the system's own (a pin in /etc/apt/preferences.d, or without that repository)"
                yield f"package {new['name']}: found {found}, need {need}"
        # Those of other firewalls are asked about by name (adoption.network).
        elif kind == "remove" and rest not in FIREWALLS.split():
            found = "it in conflict with what Slipway installs: apt would remove it"
            yield f"package {rest}: found {found}, need none (apt-get remove {rest})"
        elif kind == "unmet":
            yield f"apt: found an unmet dependency, {rest.strip()}, need none (apt-get --fix-broken install)"
        # What dpkg was at is finished by the installation.
        elif kind == "error" and not is_explained and "dpkg was interrupted" not in rest:
            yield f"apt: found {rest!r} in a simulated installation, need none (apt-get install -s NAME)"
