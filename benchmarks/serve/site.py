"""The served site: the example's, with a script of 140 KB and a change in each release."""

from __future__ import annotations

import random
import shutil
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import PROJECT
from slipway.lab.hosts import site
from slipway.lab.record import Host
from slipway.lab.steps import StepFailed, run

SCRIPT = "/static/script-0.js"
ROOT = "/var/www/codementee"
SLIPWAY = [sys.executable, "-m", "slipway"]
ADMIN = "admin@codementee.io"
LOGIN, COMPANIES = "/api/auth/login", "/api/companies"


def make(folder: Path) -> None:
    """The folder of a working tree with the site's two parts."""
    for part in ("backend", "frontend"):
        ignored = shutil.ignore_patterns("node_modules", "build", "__pycache__")
        shutil.copytree(PROJECT / "examples/codementee" / part, folder / part, ignore=ignored)
    file = folder / "frontend/public" / SCRIPT.lstrip("/")
    file.parent.mkdir()
    file.write_text(script())


def script() -> str:
    """As a bundler would write it: names that compress badly, and much around them that compresses well."""
    made_up = random.Random(1)  # noqa: S311
    return ";".join(f"var {''.join(made_up.choices(string.ascii_letters, k=6))}={number}" for number in range(9000))


def change(folder: Path, number: int) -> None:
    """Change both parts: the page's script gets another name."""
    for name, line in (
        ("backend/server.py", f"# Release {number}."),
        ("frontend/src/main.jsx", f"window.n = {number};"),
    ):
        with (folder / name).open("a") as file:
            file.write(f"\n{line}\n")


def slipway(*arguments: str, folder: Path | None = None) -> None:
    """A Slipway command, niced: a developer's machine does not share its processors with the server."""
    run(f"slipway {arguments[0]}", ["nice", "-n", "19", *SLIPWAY, *arguments, *_path(folder)], cwd=PROJECT)


def _path(folder: Path | None) -> Sequence[str]:
    return ["--path", str(folder)] if folder else []


def password(host: Host) -> str:
    argv = host.ssh_argv("cat /etc/codementee/credentials/ADMIN_PASSWORD")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def token(host: Host) -> str:
    answer = site(host).post(LOGIN, json={"email": ADMIN, "password": password(host)})
    if answer.status_code != 200:
        raise StepFailed("Log in", f"found the status {answer.status_code}, expected 200")
    return str(answer.json()["token"])
