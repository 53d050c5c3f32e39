"""Files that are written atomically and validated.

Contents are sent on standard input, so that no secret is ever in a command line (which every user of the server can
see). A file is written next to its path, given its owner and mode, checked, and only then renamed into place.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import re
import shlex
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes, run
from slipway.engine.uploads import with_input
from slipway.facts.files import FileState, FileStates, FileText
from slipway.ops.backup import backup
from slipway.ops.commands import Commands, checked
from slipway.ops.templates import render

# Lines that a running service does not depend on: comments, and settings that systemd applies after a daemon-reload.
# https://www.freedesktop.org/software/systemd/man/252/systemd.service.html#Options
NEEDS_NO_RESTART = re.compile(r"\s*([#;]|$)|(Description|Restart|RestartSec|TimeoutStartSec|TimeoutStopSec)=")
UNITS = "/etc/systemd/system/"


def write_script(
    path: str,
    mode: str,
    owner: str,
    group: str,
    check: str | None,
    rollback_unit: str | None = None,
    keep_mtime: bool = False,
) -> str:
    """A shell script that writes its standard input to `path` atomically, with its final owner and mode.

    `check` is a command with {} for the new file's name; if it fails, the old file stays. `rollback_unit` is the unit
    whose failed start restores the old file. `keep_mtime` gives the new one the modification time of the old one: a
    unit that started before the modification time is restarted (units.service).
    """
    parent = shlex.quote(str(Path(path).parent))
    steps = [
        # Parent folders need umask 022, and the login's may be 077; mkdir -m sets only the last one's mode.
        f"umask 022; [ -d {parent} ] || mkdir -p {parent}",
        "umask 077",
        f"new=$(mktemp {shlex.quote(path)}.XXXXXX)",
        "trap 'rm -f \"$new\"' EXIT",
        'base64 -d > "$new"',
        f'chown {owner}:{group} "$new"',
        f'chmod {mode} "$new"',
    ]
    if check:
        steps.append(checked(check.replace("{}", '"$new"'), **{"$new": path}))
    if keep_mtime:
        steps.append(f'touch -r {shlex.quote(path)} "$new"')
    # Sync before the rename: after a power cut the file could be empty.
    steps.append('sync "$new"')
    if rollback_unit:
        steps.append(backup([path], rollback_unit))
    return "; ".join([*steps, f'mv -fT "$new" {shlex.quote(path)}'])


def is_in_place(state: Mapping[str, str], content: bytes, mode: str, owner: str, group: str) -> bool:
    return state == {
        "kind": "regular file",
        "owner": owner,
        "group": group,
        "mode": mode,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def needs_restart(old: str, new: str) -> bool:
    """Whether a service that runs with a file must be restarted if its text changes from `old` to `new`."""
    before, after = ([line for line in text.splitlines() if not NEEDS_NO_RESTART.match(line)] for text in (old, new))
    return before != after


def tell_difference(
    path: str, state: Mapping[str, str], content: bytes, mode: str, owner: str, group: str, secret: bool = False
) -> None:
    """Show how a file will change; of a secret file, only that its contents change."""
    if not state:
        notes.note(f"{path}: new, {len(content)} bytes, {owner}:{group} {mode}")
    for what, wanted in (("kind", "regular file"), ("owner", owner), ("group", group), ("mode", mode)):
        if state and state.get(what) != wanted:
            notes.note(f"{path}: {what} {state.get(what)} -> {wanted}")
    if state.get("sha256") != hashlib.sha256(content).hexdigest():
        if not secret:
            tell_text(path, host.get_fact(FileText, path=path) if state else "", content.decode())
        elif state:
            notes.note(f"{path}: contents change (secret, not shown)")


def tell_text(path: str, old: str, new: str) -> None:
    """Show how a text will change."""
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), path, path, n=2)
    if text := "".join(lines).rstrip():
        notes.diff(text)
    else:
        notes.note(f"{path}: only the newline at the end differs")


@operation()
def put(
    path: str,
    content: str,
    mode: str = "644",
    owner: str = "root",
    group: str = "root",
    check: str | None = None,
    secret: bool = False,
    rollback_unit: str | None = None,
) -> Commands:
    """Write `content` to `path` atomically, with owner and mode (octal, as `stat -c %a` prints it).

    `check` is a shell command with {} for the new file's name, run before it replaces the old one. The content of a
    `secret` file is in no diff. The old file is restored if `rollback_unit` fails to start with the new one; the unit
    needs no restart if only lines of NEEDS_NO_RESTART differ (units.restarts).
    """
    data = content.encode()
    state = host.get_fact(FileState, path=path)
    if is_in_place(state, data, mode, owner, group):
        host.noop(f"{path} is up to date")
        return
    tell_difference(path, state, data, mode, owner, group, secret)
    without_restart, this = run.of(host.state).without_restart, (host.name, host.current_op_hash)
    without_restart.discard(this)
    only_text_differs = is_in_place({**state, "sha256": hashlib.sha256(data).hexdigest()}, data, mode, owner, group)
    if rollback_unit and only_text_differs and not needs_restart(host.get_fact(FileText, path=path), content):
        without_restart.add(this)
        notes.note(f"{rollback_unit}: no restart required")
        script = write_script(path, mode, owner, group, check, keep_mtime=True)
        yield with_input(f"{script}; systemctl daemon-reload" if path.startswith(UNITS) else script, data)
        return
    yield with_input(write_script(path, mode, owner, group, check, rollback_unit), data)


@operation()
def put_all(files: Mapping[str, str]) -> Commands:
    """`put` several files, contents by path, owned by root with mode 644. One fact compares them all."""
    states, commands = host.get_fact(FileStates, paths=tuple(files)), []
    for path, content in files.items():
        data, state = content.encode(), states.get(path, {})
        if not is_in_place(state, data, "644", "root", "root"):
            tell_difference(path, state, data, "644", "root", "root")
            commands.append(with_input(write_script(path, "644", "root", "root", check=None), data))
    yield from commands


def put_template(path: str, template: str, values: Mapping[str, Any], **arguments: Any) -> Any:
    """`put` a rendered template."""
    return put(path=path, content=render(template, **values), **arguments)


@operation()
def directory(path: str, mode: str = "755", owner: str = "root", group: str = "root") -> Commands:
    """Make sure that `path` is a directory with this owner and mode."""
    state = host.get_fact(FileState, path=path)
    if state == {"kind": "directory", "owner": owner, "group": group, "mode": mode}:
        return
    found = f"{state['kind']} {state['owner']}:{state['group']} {state['mode']}" if state else "nothing"
    notes.note(f"{path}: {found} -> directory {owner}:{group} {mode}")
    yield f"install -d -m {mode} -o {owner} -g {group} {shlex.quote(path)}"


@operation()
def link(path: str, target: str) -> Commands:
    """Make sure that `path` is a symbolic link to `target`; an existing one is replaced atomically."""
    state = host.get_fact(FileState, path=path)
    if state.get("kind") == "symbolic link" and state.get("target") == target:
        return
    notes.note(f"{path} -> {target}" + (f" (was {state.get('target', state['kind'])})" if state else ""))
    new = shlex.quote(f"{path}.new")
    yield f"ln -sfn {shlex.quote(target)} {new} && mv -fT {new} {shlex.quote(path)}"


@operation()
def absent(path: str) -> Commands:
    """Make sure that no file or link is at `path`."""
    if host.get_fact(FileState, path=path):
        notes.note(f"{path}: removed")
        yield f"rm -f {shlex.quote(path)}"


@operation()
def config_tree(
    root: str,
    files: Mapping[str, str],
    links: Mapping[str, str],
    check: str,
    rollback_unit: str,
    removed: Sequence[str] = (),
    at_last: Callable[[], Mapping[str, str]] = dict,
) -> Commands:
    """Change several files and links below `root` as one configuration that is checked as a whole first.

    `files` and `links` map a path relative to `root` to a content and to a target; `removed` are the absolute paths of
    files or links to remove; `at_last` returns contents that are known only when it is this operation's turn. `root` is
    copied, the copy is changed and checked by `check`, a command with {} for the copy's path; only then are the changed
    files renamed into place. The old ones are restored if `rollback_unit` fails to start.
    """
    changed = {}
    for name, content in {**files, **at_last()}.items():
        state = host.get_fact(FileState, path=f"{root}/{name}")
        if not is_in_place(state, content.encode(), "644", "root", "root"):
            changed[name] = content
            tell_difference(f"{root}/{name}", state, content.encode(), "644", "root", "root")
    moved = {}
    for name, target in links.items():
        if host.get_fact(FileState, path=f"{root}/{name}").get("target") != target:
            moved[name] = target
            notes.note(f"{root}/{name} -> {target}")
    for path in removed:
        notes.note(f"{path}: removed")
    if not changed and not moved and not removed:
        return

    # One command, as each costs a round trip.
    stage, place = shlex.quote(f"{root}.slipway-new"), shlex.quote(root)
    script = [
        f"umask 022; trap 'rm -rf {stage}' EXIT; rm -rf {stage}; cp -a {place} {stage}",
        f"base64 -d | tar -x -C {stage} --no-same-owner",
        *(f"rm -f {stage}/{shlex.quote(path.removeprefix(f'{root}/'))}" for path in removed),
        checked(check.replace("{}", stage), **{stage: root}),
        # Sync before the renames, as in write_script.
        f"sync -f {stage}",
        backup([*(f"{root}/{name}" for name in [*changed, *moved]), *removed], rollback_unit),
    ]
    for name in map(shlex.quote, [*changed, *moved]):
        script.append(f"mkdir -p $(dirname {place}/{name}); mv -fT {stage}/{name} {place}/{name}")
    script += [f"rm -f {shlex.quote(path)}" for path in removed]
    yield with_input("; ".join(script), tar(changed, moved))


def tar(files: Mapping[str, str], links: Mapping[str, str] | None = None) -> bytes:
    """A tar file of files, mode 644, and links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content.encode()), int(time.time())
            archive.addfile(member, io.BytesIO(content.encode()))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime = tarfile.SYMTYPE, target, int(time.time())
            archive.addfile(member)
    return buffer.getvalue()
