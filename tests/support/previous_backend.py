"""A server with the previous backend of a site, in a folder, and what facts.Earlier finds of it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from slipway.facts.earlier import Earlier
from support.obstacles import SERVICE

ROOT = "/var/www/codementee"
SYSTEMCTL = """case "$*" in
  *WorkingDirectory*) echo "$FOLDER" ;;
  *EnvironmentFiles*) printf '%s\\n' "$FILES" ;;
  *MainPID*) echo 7 ;;
  *ExecStart\\ *) printf '{ path=/x ; argv[]=uvicorn server:app --env-file extra.env ; ignore_errors=no }\\n' ;;
  *ExecMainStartTimestamp*) echo '2026-01-01 00:00:00 UTC' ;;
  *-p\\ User*) echo "$BY" ;;
  *-p\\ Environment*) echo 'DB_NAME=of_the_unit "A=b c"' ;;
esac"""
GETENT = """case "$2" in
  db.internal) echo '10.0.0.5 STREAM' ;; own.example) echo '203.0.113.9 STREAM' ;; 10.*) echo "$2 STREAM" ;; esac"""
RUNUSER = 'while [ "$1" != -- ]; do shift; done; shift; "$@"'
# Folders that are in the server's.
TOPS = "proc|usr|etc|bin|sbin|lib|sys|dev|run|boot|tmp|var|home|root|srv|data|opt|mnt"


def server_in(tmp_path: Path) -> Path:
    for folder in ("proc/7/fd", "proc/7/fdinfo", "srv", "opt", "var/www/codementee/backend", "bin", "home/dev/shop"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(f"0::/system.slice/{SERVICE}\n")
    (tmp_path / "proc/7/environ").write_bytes(b"")
    for name, text in {
        "systemctl": SYSTEMCTL,
        "getent": GETENT,
        "ip": "echo 2: eth0 inet 203.0.113.9/24",
        "runuser": RUNUSER,
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def ask(server: Path, **env: str) -> dict[str, list[str]]:
    """The sections about the backend of a server in a folder. Raises CalledProcessError where the fact would fail."""
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), (ROOT,), 27017)
    script = command[command.index("python3 -ISc '") : command.index("own() {")]
    script = re.sub(rf'"/(?=({TOPS})\b)', f'"{server}/', script).replace("(/(?:srv|", f"({server}/(?:srv|")
    script = script.replace(ROOT, f"{server}{ROOT}")
    given = {"PATH": f"{server}/bin:/usr/bin:/bin", "FOLDER": f"{server}{ROOT}/backend", "FILES": "", "BY": "", **env}
    text = "s() { printf '\\n=== %s\\n' \"$1\"; }\n" + script
    done = subprocess.run(["dash", "-c", text], env=given, capture_output=True, check=True)
    found = Earlier().process(os.fsdecode(done.stdout).replace(str(server), "").splitlines())
    return {name.removesuffix(f" {ROOT}"): text.splitlines() for name, text in found.items()}


def write(path: Path, text: str = "x", time: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time, time) if time else None)
