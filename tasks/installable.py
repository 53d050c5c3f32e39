"""What keeps a new host from its packages and its site: holds, pins, unmet dependencies, mount options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

# Packages and the site are written here. From all but the first one programs run: scripts of packages, and libraries of
# the backend's packages.
FOLDERS = ("/etc", "/usr", "/var/lib", "/var/www")


def question(packages: Sequence[str]) -> str:
    """A shell command that prints "mount FOLDER PLACE OPTIONS", "held NAME" and "refused NAME" of packages that are not
    installed, and "unmet DEPENDENCY"."""
    names = " ".join(map(shlex.quote, sorted(packages)))
    return f"""\
for folder in {" ".join(FOLDERS)}; do
  at=$folder; while [ ! -d "$at" ]; do at=${{at%/*}}; at=${{at:-/}}; done
  findmnt -nro TARGET,OPTIONS -T "$at" | sed "s,^,mount $folder ,"
done
dpkg-query -W -f '${{db:Status-Want}} ${{db:Status-Status}} ${{Package}}\\n' {names} |
  sed -nE 's/^hold (not-installed|config-files) /held /p'
export LC_ALL=C
# It knows nothing of a package before apt's lists are there.
apt-cache policy {names} | awk '
  /^[^ ]/ {{name = substr($1, 1, length($1) - 1); none = 0}}
  / Candidate: \\(none\\)/ {{none = 1}}
  none && / -[0-9]+$/ {{print "refused " name; none = 0}}'
apt-get check -q -o Debug::NoLocking=1 2>&1 | sed -n '/unmet dependencies:/,/^E:/s/^ \\(.* : .*\\)/unmet \\1/p'"""


def problems(answer: str) -> list[str]:
    """The problems in the output of `question`, a line each."""
    return list(dict.fromkeys(_problems(answer)))


def _problems(answer: str) -> Iterator[str]:
    for line in answer.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "mount":
            folder, place, options = [*rest.split(" "), "", ""][:3]
            if "ro" in options.split(","):
                yield f"mount {place}: found it read-only, need {folder} writable (mount -o remount,rw {place})"
            if "noexec" in options.split(",") and folder != FOLDERS[0]:
                need = f"programs to run from {folder} (mount -o remount,exec {place}, and in /etc/fstab)"
                yield f"mount {place}: found the option noexec, need {need}"
        elif kind == "held":
            yield f"package {rest}: found it on hold and not installed, need it (apt-mark unhold {rest})"
        elif kind == "refused":
            need = f"a pin that allows it (apt-cache policy {rest}; the files in /etc/apt/preferences.d)"
            yield f"package {rest}: found a pin by which apt never installs it, need {need}"
        elif kind == "unmet":
            yield f"apt: found an unmet dependency, {rest.strip()}, need none (apt-get --fix-broken install)"
