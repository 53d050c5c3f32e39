"""Existing users, groups, folders, units and files with names that Slipway uses, and the journal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from slipway.adoption import Obstacle, setting
from slipway.adoption.nginx_config import MAIN
from slipway.settings.model import Settings

NO_LOGIN = {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false"}
# Options of a unit that Slipway's drop-ins do not override, or to which values add up.
CHANGES_A_UNIT = re.compile(
    r"^\s*(Exec\w+|Type|User|Group|PIDFile|Root\w+|\w*Paths|Condition\w+|Environment\w*|Conflicts)\s*=.*$", re.MULTILINE
)
# A server block, which may be another site's.
VHOST = re.compile(r"/etc/nginx/(sites-available|sites-enabled|conf\.d)/.")
# System users have lower ids, useradd(8).
MIN_USER_ID = 1000
# In MiB.
JOURNAL_ROOM = 500


def obstacles(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    users = {line.split(":")[0]: line.split(":") for line in earlier.get("accounts", "").splitlines()}
    groups = {line.split(":")[0]: line.split(":") for line in earlier.get("groups", "").splitlines()}
    yield from _administrator(settings.admin_user, users, groups)
    for site in settings.all_sites:
        yield from _service_user(site, users, groups)
        yield from _folder(site, earlier)
        yield from _units(site, earlier)
    for path in earlier.get("immutable", "").split():
        if not VHOST.match(path):
            yield is_immutable(path)
    for path in earlier.get("links", "").split():
        # A file is replaced, and what its link leads to stays. Into a folder Slipway would write.
        if path == "/etc/ssh" or (path.startswith("/etc/nginx") and path != MAIN):
            yield Obstacle(path, "a link", "a folder, or a mount point (mount --bind)", may_go=False)
    for path in earlier.get("taken", "").split():
        yield Obstacle(
            path, "something other than Slipway's folder or link", f"nothing: move {path} away", may_go=False
        )
    if "mongodb" in users and "mongodb" not in groups:
        yield Obstacle("group mongodb", "a user without this group", "groupadd mongodb", may_go=False)


def swap_file(earlier: Mapping[str, str], wanted_mb: int) -> Iterator[Obstacle]:
    """An existing /swapfile of another size, or one that is no swap file."""
    # A size may be no multiple of a MiB: "fallocate -l 2GB".
    size = int(earlier.get("swapfile") or 0) // 2**20
    if size and size != wanted_mb:
        yield Obstacle("/swapfile", f"{size} MiB", setting("swap_mb", size))


def journal(earlier: Mapping[str, str], wanted_mb: int) -> Iterator[Obstacle]:
    """An existing journal that a smaller limit would shorten."""
    size = int(earlier.get("journal") or 0)
    if size > wanted_mb:
        # journald removes its oldest entries as soon as it has a smaller limit: with room for new ones.
        need = setting("journal_max_mb", size + JOURNAL_ROOM)
        yield Obstacle("/var/log/journal", f"{size} MiB, of which the oldest entries would be removed", need)


def is_immutable(path: str) -> Obstacle:
    return Obstacle(path, "it immutable", f"chattr -i {path}", may_go=False)


def dropins(earlier: Mapping[str, str], unit: str) -> Iterator[Obstacle]:
    """Existing drop-ins that change how a unit starts, its user, or what it can access."""
    for name, text in earlier.items():
        file = name.removeprefix("file ")
        changing = CHANGES_A_UNIT.search(text)
        is_ours = file.endswith(("/slipway.conf", "/unconfigured.conf"))
        if file.startswith(f"/etc/systemd/system/{unit}.d/") and not is_ours and changing:
            yield Obstacle(file, f"{changing[0].strip()!r}, which would also apply to Slipway's unit", "no such line")


def _administrator(name: str, users: Mapping[str, list[str]], groups: Mapping[str, list[str]]) -> Iterator[Obstacle]:
    at = f"user {name}"
    if name not in users:
        if name in groups:
            yield Obstacle(f"group {name}", "a group without the user", "another admin_user, or no such group", False)
        return
    _, _, number, group, _, home, shell = users[name]
    if number == "0":
        yield Obstacle(at, "a second root (uid 0)", "another admin_user", may_go=False)
    if shell in NO_LOGIN:
        yield Obstacle(
            at,
            f"the shell {shell}, which prevents logins",
            f"another admin_user, or usermod -s /bin/bash {name}",
            False,
        )
    if int(number) < MIN_USER_ID and number != "0":
        yield Obstacle(at, f"a system user (uid {number}, {home})", "another admin_user")
    if name in groups and groups[name][2] != group:
        yield Obstacle(
            at,
            f"the primary group {group} instead of {name}",
            f"usermod -g {name} {name}, or another admin_user",
        )


def _service_user(
    site: Settings, users: Mapping[str, list[str]], groups: Mapping[str, list[str]]
) -> Iterator[Obstacle]:
    name = site.backend_unit
    if name not in users:
        if name in groups:
            yield Obstacle(f"group {name}", "a group without the user", f"groupdel {name}, or another site_name", False)
        return
    _, _, number, group, _, home, shell = users[name]
    if int(number) >= MIN_USER_ID or shell not in NO_LOGIN:
        found = f"a user with a login (uid {number}, {home}, {shell})"
        yield Obstacle(f"user {name}", found, "another site_name, or no such user", may_go=False)
    elif groups.get(name, ["", "", ""])[2] != group:
        need = f"the group {name}: groupadd {name}; usermod -g {name} {name}"
        yield Obstacle(f"user {name}", f"the primary group {group}", need, may_go=False)


def _folder(site: Settings, earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    lines = earlier.get(f"folder {site.site_root}", "").splitlines()
    links = [line.removeprefix("link ") for line in lines if line.startswith("link ")]
    if links:
        need = "a folder, or a mount point (mount --bind)"
        yield Obstacle(site.site_root, f"a link to {links[0]}", need, may_go=False)
    entries = {line.removeprefix("entry ") for line in lines if line.startswith("entry ")}
    current = next((line.split(" -> ")[1] for line in lines if line.startswith("current -> ")), "")
    # Slipway's layout has relative links, and Python environments in venvs.
    if {"current", "releases"} <= entries and not ("venvs" in entries and re.fullmatch(r"releases/[\w.-]+", current)):
        found = f"releases of another program (current -> {current or 'a folder'})"
        yield Obstacle(site.site_root, found, "another site_name, or them in another folder", may_go=False)


def _units(site: Settings, earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    from slipway.adoption.backend import unit_names

    for unit in unit_names(site):
        if f"unit {unit}" in earlier and earlier[f"unit {unit}"] and unit != f"{site.backend_unit}.service":
            yield Obstacle(f"unit {unit}", "an existing unit of this name", "another site_name, or no such unit")
