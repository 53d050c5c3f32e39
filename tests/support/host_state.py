"""Runs on a lab host as root: prints the state that an apply sets, as JSON by path or subject.

Two hosts of the same name and address that were made in two ways must print the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

TREES = [
    *("/etc", "/usr/local/lib/slipway", "/usr/share/keyrings", "/usr/share/slipway", "/var/lib/dpkg/status"),
    *("/home/admin/.ssh", "/root/.ssh"),
]
# Of these, only the folder itself and the links in it.
FOLDERS = ["/var/www", "/var/www/codementee", "/var/www/letsencrypt", "/var/lib/mongodb"]
# Their content is random.
SECRETS = "/etc/codementee/credentials/"
UNITS = [
    *("systemd-journald.service", "mongod.service", "codementee-backend.socket", "codementee-backend.service"),
    *("nginx.service", "fail2ban.service", "ssh.service", "ufw.service"),
    *("certbot.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "slipway-undo.timer", "slipway-integrity.timer"),
]
# Rewritten by each apply that gets a certificate, or by programs of the system for themselves.
ALWAYS_OTHER = re.compile(
    r"/etc/letsencrypt/(archive|accounts|renewal|csr|keys)/|/etc/nginx/tls/placeholder/|-$|/etc/\.pwd\.lock$|/etc/mtab$"
)


def run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # a host that is not provisioned yet
        return ""


def below(root: str) -> Iterator[str]:
    """The paths at and below `root`, folders before what is in them."""
    if os.path.lexists(root):
        yield root
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield f"{folder}/{name}"


def in_folder(folder: str) -> Iterator[str]:
    if os.path.lexists(folder):
        yield folder
        yield from (entry.path for entry in os.scandir(folder) if entry.is_symlink())


def looks(path: str) -> tuple[object, ...]:
    found = os.lstat(path)
    is_file = stat.S_ISREG(found.st_mode)
    target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
    age = (found.st_size, found.st_mtime_ns) if is_file else ()
    return stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, target, *age


def rules() -> list[str]:
    saved = run("iptables-save") + run("ip6tables-save")
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#")]


def fingerprint() -> dict[str, str]:
    """The state that an apply sets, by path or subject."""
    found = {}
    for path in [*(path for tree in TREES for path in below(tree)), *(path for f in FOLDERS for path in in_folder(f))]:
        if ALWAYS_OTHER.search(path) or path == "/var/lib/dpkg/status":
            continue
        kind, mode, owner, group, target, *_ = looks(path)
        # certbot numbers its certificates.
        target = re.sub(r"(/archive/.*/[a-z]+)\d+([.]pem)$", r"\1\2", target)
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if kind == stat.S_IFREG else target
        content = "" if path.startswith(SECRETS) else content
        found[path] = f"{kind:o} {mode:o} {owner}:{group} {content}"
    shown = "LoadState,ActiveState,UnitFileState,NeedDaemonReload"
    found |= {unit: run("systemctl", "show", "-p", shown, unit) for unit in UNITS}
    found["packages"] = run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n")
    found["sshd"] = run("sshd", "-T")
    found["ufw"] = run("ufw", "status", "verbose")
    found["rules"] = "\n".join(rules())
    found["login"] = run("getent", "passwd", "admin", "codementee-backend")
    return found


if __name__ == "__main__":
    print(json.dumps(fingerprint()))
