"""Modes and owners of a previous site's files that an adoption changes: recorded first, restored by `unadopt`."""

from __future__ import annotations

import shlex

# The backup of what an adoption replaces.
ASIDE = "/var/backups/slipway/by-hand"
# A file for each recorded path, at that path below this folder.
OWNERS = f"{ASIDE}/owners"
# A path below a link is left alone: an application could have put the link there since.
RESTORE = """
import os, pathlib, sys
files = [path for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file()]
# The first record of a path is the right one.
for file in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
    for record in file.read_bytes().split(b"\\0")[:-1]:
        mode, user, group, path = record.split(b" ", 3)
        folder, name = os.path.split(path.rstrip(b"/"))
        path = os.path.join(folder, name)
        if os.path.realpath(folder) == folder and os.path.lexists(path):
            os.chown(path, int(user), int(group), follow_symlinks=False)
            if not os.path.islink(path):
                os.chmod(path, int(mode, 8))
"""


def record(path: str, found: str) -> str:
    """A command that records, once, the mode and owner of all that `found`, arguments of find(1), finds; by its paths
    below `path`, where it will be."""
    return _record(path, f'find {found} -printf "%m %U %G {path}/%P\\0"')


def record_files(path: str, command: str) -> str:
    """The same of files whose paths, which stay, `command` prints; `path` names the record."""
    return _record(path, f"{command} | xargs -rd '\\n' realpath -z | xargs -r0 stat --printf '%a %u %g %n\\0'")


def _record(path: str, records: str) -> str:
    file, new = f"{OWNERS}{path}", f"{ASIDE}/owners.new"
    return f'[ -e {file} ] || {{ mkdir -p "$(dirname {file})"; {records} > {new}; mv -T {new} {file}; }}'


def restore(root: str, kept: str) -> str:
    """A command that restores the modes and owners below `root`, as recorded in the backup `kept`."""
    return f"python3 -Ic {shlex.quote(RESTORE)} {kept}/owners{root}"
