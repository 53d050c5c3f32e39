"""Users with a login, their keys, and their sudo rights."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from slipway.inspection.questions import parts
from slipway.inspection.report import Key, User

NO_SHELLS = ("/nologin", "/false", "/sync", "/shutdown", "/halt")
# Groups whose members can become root.
POWERFUL = ("sudo", "wheel", "admin", "docker", "lxd")
KIND = re.compile(r"(?:^|\s)((?:ssh-|ecdsa-|sk-)[\w@.-]+)\s+([A-Za-z0-9+/=]+)\s*(.*)$")


def users(text: str) -> list[User]:
    """The users with a login shell, from the answer "users"."""
    found = parts(text)
    passwords = dict(line.split(" ", 1) for line in found.get("passwords", []) if " " in line)
    members: dict[str, list[str]] = {}
    for line in found.get("groups", []):
        name, _, _, its = (line.split(":") + [""] * 4)[:4]
        for member in filter(None, its.split(",")):
            members.setdefault(member, []).append(name)
    unseen = {line.split(" ", 1)[1] for line in found.get("keys", []) if line.startswith("unreadable ")}
    listed = []
    for line in found[""]:
        name, _, _, _, _, home, shell = (line.split(":") + [""] * 7)[:7]
        if not shell or shell.endswith(NO_SHELLS):
            continue
        groups = [group for group in members.get(name, []) if group in POWERFUL]
        listed.append(
            User(
                name=name,
                home=home,
                shell=shell,
                password={"P": True}.get(passwords[name], False) if name in passwords else None,
                sudo=_sudo(name, groups, found.get("sudoers", [])),
                groups=groups,
                keys=[
                    key
                    for entry in found.get("keys", [])
                    if entry.startswith(f"key {name} ") and (key := key_of(entry.split(" ", 2)[2]))
                ],
                keys_unseen=name in unseen,
            )
        )
    return listed


def key_of(line: str) -> Key | None:
    """A line of authorized_keys(5), None if it is not a key."""
    found = KIND.search(line)
    if not found:
        return None
    try:
        data = base64.b64decode(found[2], validate=True)
    except (ValueError, binascii.Error):
        return None
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return Key(kind=found[1], fingerprint=f"SHA256:{digest}", comment=found[3], options=line[: found.start(1)].strip())


def _sudo(name: str, groups: list[str], lines: list[str]) -> str:
    """A user's rights by sudoers: "no password" or "password" for all commands, "some commands", or "". A line
    is a file's name and a rule of sudoers(5)."""
    given = ""
    for line in lines:
        _, _, rule = line.partition(" ")
        who, _, what = rule.strip().replace("\t", " ").partition(" ")
        if name not in who.split(",") and not any(f"%{group}" in who.split(",") for group in groups):
            continue
        commands = re.sub(r"^.*?=\s*(\([^)]*\))?", "", what)
        is_all = re.search(r"(^|[\s:,])ALL\s*$", commands) is not None
        # The last matching rule counts.
        given = ("no password" if "NOPASSWD" in commands else "password") if is_all else given or "some commands"
    return given if name != "root" else ""
