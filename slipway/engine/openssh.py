"""How OpenSSH would reach a host: its configuration as `ssh -G` tells it, and the host keys that it knows.

Who can log in by `ssh HOST` is not asked for the same settings once more: aliases, ports, jump hosts, keys and known
hosts count as they are in ssh's own files, Match, Include and all. What the inventory says wins, as an option of `ssh`
does.
"""

from __future__ import annotations

import base64
import os
import pwd
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paramiko import PKey, SSHException
from paramiko.pkey import UnknownKeyType
from pyinfra.api.exceptions import ConnectError

SSH_PORT = 22
# What an inventory calls its settings of ssh_config(5).
NO_FILE = ("none", "/dev/null")
OPTIONS = {"ssh_config_file": "-F", "ssh_user": "-l", "ssh_port": "-p"}


@dataclass(frozen=True)
class Way:
    """How OpenSSH reaches a host."""

    # What `ssh` is called with, to say the same to it: ["-p", "2222", "codementee.io"].
    words: tuple[str, ...]
    hostname: str
    port: int
    user: str
    # What the host is called in known_hosts, the files, and the user's own, to which a new key is added, "" for none.
    known_as: str
    known_hosts: tuple[str, ...]
    own_known_hosts: str
    identity_files: tuple[str, ...]
    certificate_files: tuple[str, ...]
    # Offer those alone, of all that an agent has.
    identities_only: bool
    # The socket of the agent, "" for none.
    agent: str
    # A command whose standard input and output are the connection, none where it is made directly.
    proxy: tuple[str, ...]

    def command(self, *remote: str) -> str:
        """What the user would type to get there."""
        return shlex.join(["ssh", *self.words, *remote])


def way(name: str, data: Mapping[str, Any]) -> Way:
    """How OpenSSH reaches a host; `data` are pyinfra's connection data, which win. Raises ConnectError."""
    target = str(data.get("ssh_hostname") or name)
    data = {**data, "ssh_config_file": _config_file(data)}
    words = [word for key, option in OPTIONS.items() if data.get(key) for word in (option, str(data[key]))]
    found = _configuration((*words, target))

    def one(keyword: str, default: str = "") -> str:
        return found.get(keyword, [default])[0]

    hostname, port, user = one("hostname"), int(one("port")), one("user")
    alias = one("hostkeyalias")
    known_as = alias or (hostname if port == SSH_PORT else f"[{hostname}]:{port}")
    tokens = _tokens(target, hostname, port, user, alias)
    own, everybodys = shlex.split(one("userknownhostsfile")), shlex.split(one("globalknownhostsfile"))
    if data.get("ssh_known_hosts_file"):
        own, everybodys = [str(data["ssh_known_hosts_file"])], []
        words += ["-o", f"UserKnownHostsFile={own[0]}"]
    identities = found.get("identityfile", [])
    if data.get("ssh_key"):
        identities = [str(data["ssh_key"])]
        words += ["-i", identities[0]]
    return Way(
        words=(*words, target),
        hostname=hostname,
        port=port,
        user=user,
        known_as=known_as,
        known_hosts=tuple(_path(file, tokens) for file in (*own, *everybodys) if file not in NO_FILE),
        own_known_hosts=next((_path(file, tokens) for file in own[:1] if file not in NO_FILE), ""),
        identity_files=tuple(_path(file, tokens) for file in identities if file != "none"),
        certificate_files=tuple(_path(file, tokens) for file in found.get("certificatefile", []) if file != "none"),
        identities_only=one("identitiesonly") == "yes" or bool(data.get("ssh_key")),
        agent=_agent(one("identityagent"), tokens),
        proxy=_proxy(one("proxycommand", "none"), one("proxyjump", "none"), tokens, data),
    )


def _config_file(data: Mapping[str, Any]) -> str:
    return str(Path(data["ssh_config_file"]).expanduser()) if data.get("ssh_config_file") else ""


def _configuration(words: tuple[str, ...]) -> dict[str, list[str]]:
    """The values of each keyword, in lower case, that `ssh WORDS` would go by. Raises ConnectError."""
    try:
        done = _run("ssh", "-G", *words)
    except FileNotFoundError:
        raise ConnectError("ssh: found no such program here, expected OpenSSH's (apt install openssh-client)") from None
    if done.returncode:
        raise ConnectError(f"{shlex.join(['ssh', '-G', *words])}: {'; '.join(done.stderr.strip().splitlines())}")
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _tokens(target: str, hostname: str, port: int, user: str, alias: str) -> dict[str, str]:
    """TOKENS of ssh_config(5), without the rarest."""
    own = pwd.getpwuid(os.getuid())
    here = socket.gethostname()
    return {
        **{"%": "%", "h": hostname, "n": target, "p": str(port), "r": user, "k": alias or target},
        **{"d": own.pw_dir, "u": own.pw_name, "i": str(own.pw_uid), "l": here, "L": here.partition(".")[0]},
    }


def _with_tokens(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub("%(.)", lambda found: tokens.get(found[1], found[0]), text)


def _path(text: str, tokens: Mapping[str, str]) -> str:
    """A file of ssh's configuration, in which ~ is the user's home by /etc/passwd."""
    text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], ""), _with_tokens(text, tokens))
    return f"{tokens['d']}{text[1:]}" if text == "~" or text.startswith("~/") else str(Path(text).expanduser())


def _agent(setting: str, tokens: Mapping[str, str]) -> str:
    if setting == "none":
        return ""
    if setting in ("", "SSH_AUTH_SOCK"):
        return os.environ.get("SSH_AUTH_SOCK", "")
    if setting.startswith("$") and not setting.startswith("${"):
        return os.environ.get(setting[1:], "")
    return _path(setting, tokens)


def _proxy(command: str, jump: str, tokens: Mapping[str, str], data: Mapping[str, Any]) -> tuple[str, ...]:
    if command != "none":
        return "/bin/sh", "-c", f"exec {_with_tokens(command, tokens)}"
    if jump == "none":
        return ()
    *before, last = jump.split(",")
    file = ("-F", str(data["ssh_config_file"])) if data.get("ssh_config_file") else ()
    via = ("-J", ",".join(before)) if before else ()
    # Nobody is asked for a password in the middle of a run.
    return (
        "ssh",
        *file,
        *via,
        "-o",
        "BatchMode=yes",
        "-W",
        f"[{tokens['h']}]:{tokens['p']}",
        f"ssh://{_with_tokens(last.removeprefix('ssh://'), tokens)}",
    )


@dataclass(frozen=True)
class KnownKeys:
    """The keys that known_hosts files have for a host."""

    # What the host is called there: as it is asked for, or without the port.
    name: str
    keys: list[PKey] = field(default_factory=list)
    revoked: list[PKey] = field(default_factory=list)
    # Whether a certificate authority is named for it, which paramiko can't go by.
    has_authority: bool = False


def known_keys(way: Way) -> KnownKeys:
    """The host keys that OpenSSH would take for the right ones. A name's key without a port is good for any port,
    unless there is one for that very port."""
    found = _known(way.known_as, way.known_hosts)
    if not found.keys and way.known_as.startswith("["):
        return _known(way.hostname, way.known_hosts)
    return found


def lines_about(name: str, file: str) -> list[str]:
    """The lines of a known_hosts file that have the keys of a name. Hashed names, patterns and marks are ssh-keygen's
    to judge; a file with none of them is read here, as starting it takes longer."""
    try:
        text = Path(file).read_text(errors="replace")
    except OSError:
        return []
    lines = [line for line in map(str.strip, text.split("\n")) if line and not line.startswith("#")]
    if any(set(line.split()[0]) & set("|@*?!") for line in lines):
        return _run("ssh-keygen", "-F", name, "-f", file).stdout.splitlines()
    wanted = [line for line in lines if name.lower() in line.split()[0].lower().split(",")]
    return [line for line in wanted if len(line.split()) >= 3]


def _known(name: str, files: Sequence[str]) -> KnownKeys:
    found = KnownKeys(name)
    has_authority = False
    for file in files:
        if not Path(file).is_file():
            continue
        for line in lines_about(name, file):
            marker, *rest = fields = line.split()
            if marker == "#":
                continue
            if marker == "@cert-authority":
                has_authority = True
                continue
            kind, key = (rest[1:] if marker == "@revoked" else fields[1:])[:2]
            try:
                (found.revoked if marker == "@revoked" else found.keys).append(
                    PKey.from_type_string(kind, base64.b64decode(key))
                )
            except (UnknownKeyType, SSHException, ValueError):
                continue
    return KnownKeys(name, [key for key in found.keys if key not in found.revoked], found.revoked, has_authority)
