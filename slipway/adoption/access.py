"""Logins that work today and would not after an adoption."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from slipway.adoption import Obstacle, setting
from slipway.adoption.names import NO_LOGIN
from slipway.adoption.network import listeners
from slipway.settings.model import Settings

FORWARDING = "AllowTcpForwarding"
# The name in facts.Earlier of a login's process, and the ports at which sshd forwards X11 (X11DisplayOffset).
TUNNEL, X11 = "sshd-session", range(6010, 7010)
# In the command that cloud-init forces on root's copy of the first user's keys.
ONLY_A_MESSAGE = "Please login as the user"
# Of one connection: a shell, and a command beside it (engine/connector.py).
SESSIONS = 2


def obstacles(earlier: Mapping[str, str], sshd: Mapping[str, Sequence[str]], settings: Settings) -> Iterator[Obstacle]:
    """`sshd` is facts.Sshd, empty if sshd rejects its configuration."""
    if not sshd:
        yield Obstacle("sshd", "a configuration that `sshd -t` rejects", "a valid one", may_go=False)
        return
    for port in sshd.get("port", []):
        if int(port) != settings.sshd_port:
            yield Obstacle(f"sshd: port {port}", "sshd listening on it", setting("sshd_port", int(port)))
    for address in sshd.get("listenaddress", []):
        port = address.rpartition(":")[2]
        if port.isdigit() and port not in (str(settings.sshd_port), *sshd.get("port", [])):
            found = "sshd listening there, whatever sshd_port says"
            yield Obstacle(f"sshd: ListenAddress {address}", found, "it without a port", may_go=False)
    told = {*sshd.get("port", []), *(address.rpartition(":")[2] for address in sshd.get("listenaddress", []))}
    listening = {one.port for one in listeners(earlier) if one.program == "sshd" and one.is_public}
    for number in sorted(listening - {settings.sshd_port, *(int(port) for port in told if port.isdigit())}):
        found = "sshd listening on it by other means than its configuration, which the firewall would block"
        yield Obstacle(f"sshd: port {number}", found, setting("sshd_port", number))
    listens = earlier.get("socket", "")
    if listens and not re.search(rf":{settings.sshd_port}\b", listens):
        need = "sshd without it: systemctl disable --now ssh.socket; systemctl enable --now ssh.service"
        yield Obstacle("ssh.socket", f"{' '.join(listens.split())}, whatever sshd_port says", need, may_go=False)
    user = settings.admin_user
    theirs = {name.lower() for name in settings.sshd_settings}
    for keyword, need in (("allowusers", "AllowUsers"), ("allowgroups", "AllowGroups")):
        allowed = [name for line in sshd.get(keyword, []) for name in line.split()]
        patterns = [name.partition("@")[0] for name in allowed]
        if allowed and keyword not in theirs and not any(fnmatchcase(user, pattern) for pattern in patterns):
            wanted = setting("sshd_settings", {need: " ".join([*allowed, user])})
            yield Obstacle(f"sshd: {need}", f"{' '.join(allowed)}, without {user}", wanted, may_go=False)
    for keyword, need in (("denyusers", "DenyUsers"), ("denygroups", "DenyGroups")):
        denied = [name for line in sshd.get(keyword, []) for name in line.split()]
        if any(fnmatchcase(user, name.partition("@")[0]) for name in denied):
            yield Obstacle(f"sshd: {need}", f"{' '.join(denied)}, with {user}", f"it without {user}", may_go=False)
    methods = [one for line in sshd.get("authenticationmethods", []) for one in line.split()]
    if methods and not {"any", "publickey"} & {*methods} and "authenticationmethods" not in theirs:
        found = f"{' '.join(methods)}, with which a key alone is not accepted"
        yield Obstacle("sshd: AuthenticationMethods", found, "publickey", may_go=False)
    files = [file for line in sshd.get("authorizedkeysfile", []) for file in line.split()]
    if files and not {".ssh/authorized_keys", "%h/.ssh/authorized_keys"} & {*files}:
        need = "one that includes .ssh/authorized_keys"
        yield Obstacle("sshd: AuthorizedKeysFile", " ".join(files), need, may_go=False)
    for sessions in sshd.get("maxsessions", []):
        if int(sessions) < SESSIONS:
            found = f"{sessions}: Slipway runs a command beside its shell"
            yield Obstacle("sshd: MaxSessions", found, f"at least {SESSIONS}", may_go=False)
    if sshd.get("forcecommand", ["none"]) != ["none"]:
        yield Obstacle("sshd: ForceCommand", " ".join(sshd["forcecommand"]), "none outside of a Match", may_go=False)
    for line in earlier.get("matched", "").splitlines():
        file, _, said = line.partition(":")
        found = "it within a Match, by which sshd lets in whom Slipway's does not"
        yield Obstacle(f"{file}: {said}", found, "no such line")
    if sshd.get("passwordauthentication") == ["yes"]:
        for line in earlier.get("passwords", "").splitlines():
            name, *_, shell = line.split(":")
            if (shell not in NO_LOGIN or name in earlier.get("sftp", "").split()) and name not in ("root", user):
                found = "a password and no key: Slipway's sshd accepts only keys"
                yield Obstacle(f"user {name}", found, f"its key in ~{name}/.ssh/authorized_keys")
    yield from _login(earlier, user, sshd)
    for line in earlier.get("sudoers", "").splitlines():
        if line == "/etc/sudoers":
            found = "no includedir, so that sudo does not read what is in /etc/sudoers.d"
            yield Obstacle(line, found, "@includedir /etc/sudoers.d as its last line (visudo)", may_go=False)
            continue
        # The last rule that matches counts, sudoers(5).
        found = f"a later rule than /etc/sudoers.d/{user}, by which sudo asks for a password"
        need = "NOPASSWD in it, or it in a file with an earlier name, or above the includedir"
        yield Obstacle(line, found, need, may_go=False)
    for name in other_keys(earlier.get("keys", "").splitlines(), settings):
        found = "this key, which would be removed"
        yield Obstacle(f"user {user}: key {name}", found, "its line in admin_keys")
    yield from _tunnels(earlier, settings)
    for name in roots_keys(earlier, sshd, settings, "used"):
        found = "logins with it in the last weeks, and Slipway's sshd refuses root"
        yield Obstacle(
            f"user root: key {name}", found, f"its line in admin_keys, for {user}, or in another user's keys"
        )


def certificates(found: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """Host certificates of keys that Slipway's sshd does not load: `found` is by tasks.ssh.host_certificates."""
    if any(name.lower() == "hostkeyalgorithms" for name in settings.sshd_settings):
        return
    for file, key in found.items():
        if not key:
            lost = "it for a host key that Slipway's sshd does not have: ECDSA, or RSA of less than 4096 bits"
            yield Obstacle(f"sshd: HostCertificate {file}", lost, "one for /etc/ssh/ssh_host_ed25519_key.pub")


def other_keys(lines: Sequence[str], settings: Settings) -> list[str]:
    """The comments, or else the ends, of the keys in an authorized_keys file that are not in admin_keys."""
    own = {" ".join(key.split()[:2]) for key in settings.admin_keys}
    found = []
    for line in lines:
        words = line.split()
        at = next((number for number, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-", "sk-"))), None)
        if at is not None and not line.lstrip().startswith("#") and " ".join(words[at : at + 2]) not in own:
            found.append(" ".join(words[at + 2 :]) or words[at + 1][-12:])
    return found


def roots_keys(
    earlier: Mapping[str, str], sshd: Mapping[str, Sequence[str]], settings: Settings, state: str
) -> list[str]:
    """Root's keys in this state ("used", "unused") that are not in admin_keys, if root may log in now."""
    if sshd.get("permitrootlogin") == ["no"]:
        return []
    lines = [line.partition(" ") for line in earlier.get("roots", "").splitlines()]
    return other_keys([key for its, _, key in lines if its == state and ONLY_A_MESSAGE not in key], settings)


def _tunnels(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """Ports that logins keep open with `ssh -R`, apart from those for X11."""
    allowed = next((value for name, value in settings.sshd_settings.items() if name.lower() == FORWARDING.lower()), "")
    held = {one.port for one in listeners(earlier) if one.program == TUNNEL and one.port not in X11}
    if held and allowed not in ("yes", "all", "remote"):
        numbers = ", ".join(map(str, sorted(held)))
        found = f"port {numbers} held by a reverse tunnel (ssh -R), which Slipway's sshd refuses"
        need = setting("sshd_settings", {**settings.sshd_settings, FORWARDING: "yes"})
        yield Obstacle(f"sshd: {FORWARDING}", found, need)


def _login(earlier: Mapping[str, str], user: str, sshd: Mapping[str, Sequence[str]]) -> Iterator[Obstacle]:
    """What prevents an existing administrator's login by key, sshd(8), StrictModes."""
    for line in earlier.get("login", "").splitlines():
        kind, *words = line.split(" ", 3)
        if kind == "nologin":
            yield Obstacle("/etc/nologin", "it, by which only root may log in", "no such file", may_go=False)
        elif kind == "locked":
            if sshd.get("usepam") == ["no"]:
                found = "a locked password: without PAM sshd refuses its keys too"
                yield Obstacle(f"user {user}", found, f"UsePAM yes, or usermod -p '*' {user}", may_go=False)
        elif kind == "expired":
            yield Obstacle(f"user {user}", "an account that has expired", f"chage -E -1 {user}", may_go=False)
        elif kind == "password":
            found = "a password that must be changed at the next login, which needs a terminal"
            yield Obstacle(f"user {user}", found, f"chage -d $(date +%F) -M -1 {user}", may_go=False)
        elif kind == "shell":
            yield Obstacle(
                f"user {user}", f"the shell {words[0]}, which does not exist", f"usermod -s /bin/bash {user}", False
            )
        elif words[0] not in (user, "root") or int(words[1], 8) & 0o022:
            found = f"the owner {words[0]}, mode {words[1]}: sshd ignores keys in it"
            yield Obstacle(words[2], found, f"chown {user}, chmod go-w", may_go=False)
