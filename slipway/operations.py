"""The few operations that pyinfra lacks: files that appear atomically and checked, packages without needless updates,
services that follow change.

Contents travel on standard input, so that no secret is ever in a command line (which every user of the server can
see), and a file is written beside its place, given its owner and mode, checked, and only then renamed into place.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import shlex
import tarfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from slipway import limits, report
from slipway.facts import BROKEN_PACKAGES, FileState, FileStates, FileText, Modified, Output, Packages, Unit
from slipway.uploads import with_input

PROJECT = Path(__file__).resolve().parent.parent
Commands = Generator[StringCommand | FunctionCommand | str, None, None]

_templates = Environment(
    loader=FileSystemLoader(PROJECT / "templates"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  configuration files, not HTML
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["limits"] = limits


def render(template: str, /, **values: Any) -> str:
    """The text of `templates/<template>` with `values`; an unknown name in it is an error."""
    return _templates.get_template(template).render(**values)


def load_templates() -> Iterator[str]:
    """Compile all templates, one at each step, whose name it yields."""
    for name in _templates.list_templates():
        _templates.get_template(name)
        yield name


# A configuration that its program accepts may still not start: a port is taken, an address is not the host's. What it
# replaces is kept here, by unit, until the unit has come up with it; if that one does not, what was there comes back.
KEPT = "/var/lib/slipway/kept"


def keep(paths: Iterable[str], unit: str) -> str:
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


def bring_back(kept: str) -> str:
    """Shell commands that put what was kept in the folder `kept`, a path or a shell's variable, where it was."""
    return f"""\
while read -r path; do
  old=$path.slipway-old
  if [ -e {kept}$path ] || [ -L {kept}$path ]; then cp -a {kept}$path $old && mv -fT $old $path; else rm -f $path; fi
done < {kept}/paths"""


def or_back(attempt: str, unit: str, reload: bool = False) -> str:
    """`attempt`, which starts `unit`, and exit code 1 where it fails: what was kept comes back then.

    `reload` says that the unit serves on with what was there before, and only is to read it.
    """
    kept, verb = f"{KEPT}/{unit}", "reload-or-restart" if reload else "restart"
    back = f"""\
[ -s {kept}/paths ] || exit 1
{bring_back(kept)}
systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null
for socket in $(grep -o '[^/]*[.]socket$' {kept}/paths); do systemctl stop {unit}; systemctl restart $socket; done
systemctl {verb} {unit}
echo "{unit} did not come up with its new configuration; the one before is back:" $(cat {kept}/paths) >&2
rm -rf {kept}; exit 1"""
    return f"( {attempt} ) || {{\n{back}\n}}"


def write_script(path: str, mode: str, owner: str, group: str, check: str | None, proven_by: str | None = None) -> str:
    """A shell script that puts its standard input at `path`: nobody ever sees a half-written file or a wrong mode.

    `check` is a command with {} for the new file's name; where it fails the old file stays. `proven_by` is the unit
    that the old file is kept for.
    """
    parent = shlex.quote(str(Path(path).parent))
    steps = [
        f"[ -d {parent} ] || mkdir -p -m 755 {parent}",
        "umask 077",
        f"new=$(mktemp {shlex.quote(path)}.XXXXXX)",
        "trap 'rm -f \"$new\"' EXIT",
        'base64 -d > "$new"',
        f'chown {owner}:{group} "$new"',
        f'chmod {mode} "$new"',
    ]
    if check:
        steps.append(check.replace("{}", '"$new"'))
    # On the disk before it takes the old one's place: a power cut would leave a file of this name and no content.
    steps.append('sync "$new"')
    if proven_by:
        steps.append(keep([path], proven_by))
    return "; ".join([*steps, f'mv -fT "$new" {shlex.quote(path)}'])


def is_in_place(state: Mapping[str, str], content: bytes, mode: str, owner: str, group: str) -> bool:
    return state == {
        "kind": "regular file",
        "owner": owner,
        "group": group,
        "mode": mode,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def tell_difference(
    path: str, state: Mapping[str, str], content: bytes, mode: str, owner: str, group: str, secret: bool = False
) -> None:
    """Show what a file will become; of one that holds a secret only that it changes."""
    if not state:
        report.note(f"{path}: new, {len(content)} bytes, {owner}:{group} {mode}")
    for what, wanted in (("kind", "regular file"), ("owner", owner), ("group", group), ("mode", mode)):
        if state and state.get(what) != wanted:
            report.note(f"{path}: {what} {state.get(what)} -> {wanted}")
    if state.get("sha256") != hashlib.sha256(content).hexdigest():
        if not secret:
            tell_text(path, host.get_fact(FileText, path=path) if state else "", content.decode())
        elif state:
            report.note(f"{path}: contents change (secret, not shown)")


def tell_text(path: str, old: str, new: str) -> None:
    """Show how a text will change."""
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), path, path, n=2)
    report.note("".join(lines).rstrip() or f"{path}: no line differs, but how the last one ends")


@operation()
def put(
    path: str,
    content: str,
    mode: str = "644",
    owner: str = "root",
    group: str = "root",
    check: str | None = None,
    secret: bool = False,
    proven_by: str | None = None,
) -> Commands:
    """Put `content` at `path`, atomically, with its final owner and mode (octal, as `stat -c %a` prints it).

    `check` is a shell command with {} for the new file's name, run before it replaces the old one. The content of a
    `secret` file is in no diff. The old file comes back if the unit `proven_by` does not come up with the new one.
    """
    data = content.encode()
    state = host.get_fact(FileState, path=path)
    if is_in_place(state, data, mode, owner, group):
        host.noop(f"{path} is as it should be")
        return
    tell_difference(path, state, data, mode, owner, group, secret)
    yield with_input(write_script(path, mode, owner, group, check, proven_by), data)


@operation()
def put_all(files: Mapping[str, str]) -> Commands:
    """`put` of several files by their paths, root's and readable by all, which are compared by one fact."""
    states, commands = host.get_fact(FileStates, paths=tuple(files)), []
    for path, content in files.items():
        data, state = content.encode(), states.get(path, {})
        if not is_in_place(state, data, "644", "root", "root"):
            tell_difference(path, state, data, "644", "root", "root")
            commands.append(with_input(write_script(path, "644", "root", "root", check=None), data))
    yield from commands


def put_template(path: str, template: str, values: Mapping[str, Any], **arguments: Any) -> Any:
    """`put` of a rendered template."""
    return put(path=path, content=render(template, **values), **arguments)


@operation()
def directory(path: str, mode: str = "755", owner: str = "root", group: str = "root") -> Commands:
    """Make sure that `path` is a directory with this owner and mode."""
    state = host.get_fact(FileState, path=path)
    if state == {"kind": "directory", "owner": owner, "group": group, "mode": mode}:
        return
    found = f"{state['kind']} {state['owner']}:{state['group']} {state['mode']}" if state else "nothing"
    report.note(f"{path}: {found} -> directory {owner}:{group} {mode}")
    yield f"install -d -m {mode} -o {owner} -g {group} {shlex.quote(path)}"


@operation()
def link(path: str, target: str) -> Commands:
    """Make sure that `path` is a symbolic link to `target`; an existing one moves in one step."""
    state = host.get_fact(FileState, path=path)
    if state.get("kind") == "symbolic link" and state.get("target") == target:
        return
    report.note(f"{path} -> {target}" + (f" (was {state.get('target', state['kind'])})" if state else ""))
    new = shlex.quote(f"{path}.new")
    yield f"ln -sfn {shlex.quote(target)} {new} && mv -fT {new} {shlex.quote(path)}"


@operation()
def absent(path: str) -> Commands:
    """Make sure that no file or link is at `path`."""
    if host.get_fact(FileState, path=path):
        report.note(f"{path}: removed")
        yield f"rm -f {shlex.quote(path)}"


@operation()
def config_tree(root: str, files: Mapping[str, str], links: Mapping[str, str], check: str, proven_by: str) -> Commands:
    """Make several files and links below `root` one configuration that is checked as a whole before it is in force.

    `files` and `links` map a path relative to `root` to a content and to a target. The whole of `root` is copied
    beside itself, changed there and checked by `check`, a command with {} for the copy's path; only then do the
    changed files move into place, each by a rename. The old ones come back if the unit `proven_by` does not come up.
    """
    changed = {}
    for name, content in files.items():
        state = host.get_fact(FileState, path=f"{root}/{name}")
        if not is_in_place(state, content.encode(), "644", "root", "root"):
            changed[name] = content
            tell_difference(f"{root}/{name}", state, content.encode(), "644", "root", "root")
    moved = {}
    for name, target in links.items():
        if host.get_fact(FileState, path=f"{root}/{name}").get("target") != target:
            moved[name] = target
            report.note(f"{root}/{name} -> {target}")
    if not changed and not moved:
        return

    # One command, as each would wait for the way there and back.
    stage, place = shlex.quote(f"{root}.slipway-new"), shlex.quote(root)
    script = [
        f"umask 022; trap 'rm -rf {stage}' EXIT; rm -rf {stage}; cp -a {place} {stage}",
        f"base64 -d | tar -x -C {stage} --no-same-owner",
        check.replace("{}", stage),
        # On the disk before any of it takes its place, as in write_script.
        f"sync -f {stage}",
        keep([f"{root}/{name}" for name in [*changed, *moved]], proven_by),
    ]
    for name in map(shlex.quote, [*changed, *moved]):
        script.append(f"mkdir -p $(dirname {place}/{name}); mv -fT {stage}/{name} {place}/{name}")
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


# A repository's lists are refreshed only on the way to an installation: an update on every run would be a change on
# every run. Error-Mode=any, or apt-get update reports success without a network.
APT_UPDATE = "apt-get update -q -o APT::Update::Error-Mode=any"
APT_INSTALL = (
    "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)


APT_LISTS = "/var/lib/apt/lists"
# The time of the last refresh: apt gives a list its age on the mirror. Whoever else refreshes the lists removes this.
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
        report.note(f"left half unpacked: {', '.join(sorted(found['broken']))}")
    for component, names in missing.items():
        if names:
            report.note(f"{component}: not installed: {', '.join(names)}")
    yield _refresh(without)
    # Where nothing is missing it still fails for what is half unpacked, and that is finished.
    command = f"{APT_INSTALL} {' '.join(map(shlex.quote, sorted({*chain(*missing.values())})))}"
    yield f"{command} || {{ {FINISH}; {command}; }}"


# A process's age is known in whole seconds.
STALE_SECONDS = 2


@dataclass(frozen=True)
class Ready:
    """How to tell that a service does its work: a shell command that succeeds then.

    After a start it is waited for `seconds` at most, which the `setting` makes more.
    """

    check: str
    seconds: int
    setting: str = "timeout_scale"


@operation()
def service(unit: str, ready: Ready | None = None, files: Sequence[str] = (), reloads: bool = False) -> Commands:
    """Make sure that a systemd unit is enabled, running, and runs with `files` as they are now.

    A restart after a change is a reaction of its own (`restart`); this catches the one that an interrupted run never
    came to. `reloads` says that the unit reads its files anew on a reload. One that runs and is not `ready` is
    restarted; where it is not after a start, the unit's last log lines are shown.
    """
    state = host.get_fact(Unit, unit=unit)
    if state.get("UnitFileState") not in ("enabled", "static", "alias", "indirect", "generated"):
        report.note(f"{unit}: {state.get('UnitFileState') or 'unknown'} -> enabled")
        # By --runtime only a mask in /run is removed, and without it only one in /etc.
        masks = {"masked": f"systemctl unmask {unit} && ", "masked-runtime": f"systemctl --runtime unmask {unit} && "}
        # Each of the two makes systemd read its units anew.
        yield f"{masks.get(state.get('UnitFileState', ''), '')}systemctl enable {unit}"
    ends = ends_over_and_over(state)
    if state.get("ActiveState") not in ("active", "activating", "reloading") or ends:
        found = "ends over and over" if ends else state.get("ActiveState") or "not there"
        report.note(f"{unit}: {found} -> active")
        # What a socket would start may have been masked until now, which systemd need not have noticed.
        yield f"systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; " + or_back(
            and_wait(f"systemctl start {unit}", unit, ready), unit
        )
    elif files and is_stale(state, host.get_fact(Modified, paths=tuple(files)), reloads):
        report.note(f"{unit}: runs with files as they were before they changed")
        yield _restart_command(unit, ready, reloads)
    elif ready and host.get_fact(Output, command=_works(ready)) != "yes":
        report.note(f"{unit}: runs, and does not do its work")
        yield _restart_command(unit, ready, reloads)


def _works(ready: Ready) -> str:
    return f"{until(ready.check, limits.of_host(host).patience)} && echo yes"


def is_stale(state: Mapping[str, str], modified: int, reloads: bool) -> bool:
    """Whether a unit (facts.Unit) runs with what it read before `modified`; a reload is read by new children."""
    began = state.get("ChildBegan" if reloads else "Began")
    return began is not None and modified - int(began) > STALE_SECONDS


@operation()
def know(unit: str) -> Commands:
    """Make sure that systemd has read the files of a unit as they are now."""
    if host.get_fact(Unit, unit=unit).get("NeedDaemonReload") == "yes":
        yield "systemctl daemon-reload"


def ends_over_and_over(state: Mapping[str, str]) -> bool:
    """Whether a unit (facts.Unit) is being started again after it ended by itself: now waiting for it, now at it."""
    again = state.get("ActiveState") == "activating" and state.get("NRestarts", "0") != "0"
    return state.get("SubState") == "auto-restart" or again


@operation()
def restart(
    unit: str, ready: Ready | None = None, reload: bool = False, stop: str | None = None, rehearse: bool = False
) -> Commands:
    """Restart (or reload) a unit, whatever its state. Call it with `_if=`, as a reaction to a change.

    What was put with `proven_by=unit` is settled by it: it stays, or what was there before comes back. `stop` is a unit
    that is stopped before, and left so: what was put for that one comes back, and stays once it has started itself.
    `rehearse` reloads the unit first: one that fails at that still serves.
    """
    if stop:
        attempt = f"systemctl stop {stop}; systemctl daemon-reload; " + and_wait(
            f"systemctl restart {unit}", unit, ready
        )
        yield or_back(attempt, stop)
    else:
        yield _restart_command(unit, ready, reload, rehearse)


def _restart_command(unit: str, ready: Ready | None, reload: bool, rehearse: bool = False) -> str:
    action = _reload(unit) if reload else f"systemctl restart {unit}"
    if rehearse:
        action = f"{{ {_reload(unit)}; }} && {action}"
    reset = f"systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; "
    return (
        or_back(reset + and_wait(f"{{ {action}; }}", unit, ready), unit, reload or rehearse)
        + f" && rm -rf {KEPT}/{unit}"
    )


def _reload(unit: str) -> str:
    """Reload a unit, or start one that does not run. A program may say yes to a reload and then find that it can't: it
    goes on with its old children. So one that is new is waited for."""
    seconds = limits.of_host(host).reload
    newest = f"pgrep -n -P $(systemctl show --property=MainPID --value {unit})"
    new = shlex.quote(f'until [ "$({newest})" != "$1" ]; do sleep 0.1; done')
    late = f"echo '{unit} has no new process {seconds} s after a reload; {limits.HINT}' >&2; false"
    return (
        f"old=$({newest}); systemctl reload-or-restart {unit}"
        f' && {{ timeout {seconds} sh -c {new} sh "$old" || {{ {late}; }}; }}'
    )


def until(ready: str, seconds: int) -> str:
    """A command that succeeds as soon as `ready` does, and fails after `seconds`.

    The clock decides, not a number of tries: one try at a service that accepts and never answers takes seconds.
    """
    return f"timeout {seconds} sh -c {shlex.quote(f'until {ready}; do sleep 0.5; done')}"


def and_wait(action: str, unit: str, ready: Ready | None) -> str:
    """`action`, then its time until `ready`; on failure the unit's last log lines and exit code 1."""
    # mongod says at length how it shuts down: what is only informative hides why.
    last = f"""journalctl -u {unit} -n 80 --no-pager | grep -v '"s":"I"' | tail -n 20"""
    failure = f"{{ {last} >&2; exit 1; }}"
    if ready is None:
        return f"{action} || {failure}"
    late = f"echo '{unit} is not ready after {ready.seconds} s; on a slow host raise {ready.setting}' >&2"
    return f"{action} || {failure}; {until(ready.check, ready.seconds)} || {{ {late}; {failure}; }}"


@operation()
def ensure(check: str, command: str, note: str | None = None) -> Commands:
    """Run `command` where the read-only shell test `check` fails. For what has neither a file nor an operation."""
    if host.get_fact(Output, command=f"if {{ {check}; }} >/dev/null; then echo yes; fi").strip() == "yes":
        return
    report.note(note or f"this does not hold yet: {check}")
    yield command
