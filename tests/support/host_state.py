"""Runs on a lab host as root: `keep` what its configuration is, `restore` exactly that, or print a `fingerprint` of it.

A restore is much quicker than an apply, and what it brings back does not depend on what is tested.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

KEPT = Path("/root/kept")
TREES = [
    *("/etc", "/usr/local/lib/slipway", "/usr/share/keyrings", "/usr/share/slipway", "/var/lib/dpkg/status"),
    *("/home/admin/.ssh", "/root/.ssh"),
]
# Of these the folder itself and the links in it.
FOLDERS = ["/var/www", "/var/www/codementee", "/var/www/letsencrypt", "/var/lib/mongodb"]
# What is in them is made up.
SECRETS = "/etc/codementee/credentials/"
UNITS = [
    *("systemd-journald.service", "mongod.service", "codementee-backend.socket", "codementee-backend.service"),
    *("nginx.service", "fail2ban.service", "ssh.service", "ufw.service"),
    *("certbot.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "slipway-undo.timer", "slipway-integrity.timer"),
]
# Made anew by each apply that has to get a certificate; or by programs of the system for themselves.
ALWAYS_OTHER = re.compile(
    r"/etc/letsencrypt/(archive|accounts|renewal|csr|keys)/|/etc/nginx/tls/placeholder/|-$|/etc/\.pwd\.lock$|/etc/mtab$"
)


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


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


def put(source: str, path: str) -> None:
    """Make `path` what `source` is; of a folder what is in it is not concerned."""
    if os.path.isdir(source) and not os.path.islink(source):
        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
        os.makedirs(path, exist_ok=True)
    else:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        shutil.copy2(source, f"{path}.kept", follow_symlinks=False)
        os.replace(f"{path}.kept", path)
    found = os.lstat(source)
    os.chown(path, found.st_uid, found.st_gid, follow_symlinks=False)
    if not os.path.islink(path):
        os.chmod(path, stat.S_IMODE(found.st_mode))


def mirror(paths: list[str], kept: list[str]) -> None:
    """Make `paths` what is `kept` of them, and nothing more."""
    wanted = {path.removeprefix(f"{KEPT}/files"): path for path in kept}
    for path in sorted(set(paths) - set(wanted), reverse=True):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    for path, source in wanted.items():
        if not os.path.lexists(path) or looks(path) != looks(source):
            put(source, path)


def units() -> dict[str, dict[str, str]]:
    properties = "ActiveState,InvocationID"
    return {
        unit: dict(line.split("=", 1) for line in run("systemctl", "show", "-p", properties, unit).splitlines())
        for unit in UNITS
    }


def rules() -> list[str]:
    saved = run("iptables-save") + run("ip6tables-save")
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#")]


def keep() -> None:
    shutil.rmtree(KEPT, ignore_errors=True)
    for tree in TREES:
        for path in below(tree):
            os.makedirs(os.path.dirname(f"{KEPT}/files{path}"), exist_ok=True)
            put_kept(path)
    for folder in FOLDERS:
        for path in in_folder(folder):
            put_kept(path)
    KEPT.joinpath("state.json").write_text(json.dumps({"units": units(), "rules": rules()}))


def put_kept(path: str) -> None:
    if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
        put(path, f"{KEPT}/files{path}")


def restore() -> None:
    state = json.loads(KEPT.joinpath("state.json").read_text())
    for tree in TREES:
        mirror(list(below(tree)), list(below(f"{KEPT}/files{tree}")))
    for folder in FOLDERS:
        mirror(list(in_folder(folder)), list(in_folder(f"{KEPT}/files{folder}")))
    run("pkill", "--signal", "CONT", "--uid", "codementee-backend")
    run("systemctl", "daemon-reload")
    for unit, now in units().items():
        if now != state["units"][unit] and state["units"][unit]["ActiveState"] == "active":
            run("systemctl", "reset-failed", unit)
            # The service must let go of a socket before that can be made anew.
            if unit.endswith(".socket"):
                run("systemctl", "stop", unit.replace(".socket", ".service"))
            run("systemctl", "restart", unit)
    run("systemctl", "reload", "nginx")
    if rules() != state["rules"]:
        run("ufw", "reload")
    state["units"] = units()
    KEPT.joinpath("state.json").write_text(json.dumps(state))


def fingerprint() -> dict[str, str]:
    """What an apply makes of a host, by what it is of."""
    found = {}
    for path in [*(path for tree in TREES for path in below(tree)), *(path for f in FOLDERS for path in in_folder(f))]:
        if ALWAYS_OTHER.search(path) or path == "/var/lib/dpkg/status":
            continue
        kind, mode, owner, group, target, *_ = looks(path)
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
    if sys.argv[1] == "fingerprint":
        print(json.dumps(fingerprint()))
    else:
        {"keep": keep, "restore": restore}[sys.argv[1]]()
