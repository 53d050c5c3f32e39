"""The version of Slipway that a project uses: a line of pip's in requirements-slipway.txt."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "slipway"
FILE = "requirements-slipway.txt"


def running() -> str:
    """The requirement that installs the Slipway that is running: of a git repository the commit, and of a downloaded
    archive its URL, by PEP 610's record of where a package was installed from; of a checkout its origin; else the
    version.

    PyPI's package of the same name is another project: a version can only be had from where this one is from.
    """
    distribution = metadata.distribution(NAME)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if commit := origin.get("vcs_info", {}).get("commit_id"):
        return f"{NAME} @ git+{origin['url']}@{commit}"
    if "archive_info" in origin and urlsplit(origin["url"]).scheme == "https":
        digest = origin["archive_info"].get("hashes", {}).get("sha256", "")
        return f"{NAME} @ {origin['url']}{f'#sha256={digest}' if digest else ''}"
    if "dir_info" in origin:
        checkout = unquote(urlsplit(origin["url"]).path)
        url, commit = _git(checkout, "remote", "get-url", "origin"), _git(checkout, "rev-parse", "HEAD")
        if "://" in url:
            return f"{NAME} @ git+{url}@{commit}"
    return f"{NAME}=={distribution.version}"


def _git(folder: str, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def pinned(project: Path) -> str:
    """The requirement that a project is pinned to, "" for none."""
    try:
        lines = (project / FILE).read_text().splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in lines if re.match(rf"\s*{NAME}\b", line)), "")


def pin(project: Path, requirement: str) -> None:
    """Pin a project to another requirement; comments and other lines stay."""
    file = project / FILE
    old = pinned(project)
    new = file.with_name(f".{file.name}.new")
    new.write_text(file.read_text().replace(old, requirement, 1))
    new.replace(file)


def warnings(project: Path) -> list[str]:
    """A line where a project is pinned to another version than the one that is running."""
    wanted = pinned(project)
    if not wanted or wanted == running():
        return []
    return [f"{FILE} has {wanted}, and this is {running()}: `slipway upgrade-project` compares the two"]
