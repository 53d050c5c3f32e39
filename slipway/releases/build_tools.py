"""Checks for the frontend's build tools, on this machine or a server."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from slipway.settings import frontend_tool as tool
from slipway.settings import node_versions as node
from slipway.settings.model import Settings

HOW = {
    "npm": "install Node.js, which brings it (https://nodejs.org)",
    "yarn": "`corepack enable` or `npm install --global yarn` installs it",
    "pnpm": "`corepack enable` or `npm install --global pnpm` installs it",
    "bun": "https://bun.sh describes how to install it",
}


def problems_here(settings: Settings) -> list[str]:
    """Why the frontend can't be built on this machine."""
    return [
        *_missing("frontend_build", settings.frontend_build),
        *wrong_node(settings, _node_here(), "this machine"),
    ]


def problems_there(settings: Settings, found: str, where: str) -> list[str]:
    """Why the frontend can't be built on a server, whose `node --version` prints `found`."""
    source = settings.frontend_source
    lock = tool.lock_above(source)
    problems = [*wrong_node(settings, found, where)]
    if lock and settings.frontend_build == tool.build_command(source, "server"):
        problems.append(
            f"frontend_build_on: found the frontend's lock in {lock}, expected it in {source}, of which alone the"
            ' server gets files: build it on your machine (frontend_build_on = "local"), or set frontend_build to a'
            " command that needs no lock"
        )
    return problems


def backend_problems(settings: Settings) -> list[str]:
    """Why what belongs to the backend can't be built on this machine."""
    return [*_missing("backend_build", settings.backend_build)]


def _missing(setting: str, command: str) -> Iterator[str]:
    """The package managers that a command needs and that are not installed."""
    begun = {words[0] for part in re.split(r"&&|;|\|\|", command) if (words := part.split())}
    for name in [name for name in HOW if name in begun and not shutil.which(name)]:
        yield f"{setting}: found no {name} on this machine, which {command!r} needs; {HOW[name]}"


def _node_here() -> str:
    program = shutil.which("node")
    if not program:
        return ""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout


def wrong_node(settings: Settings, found: str, where: str) -> Iterator[str]:
    """`found` is what `node --version` prints, "" if it is missing, which `_missing` or the build reports."""
    try:
        version = node.version_of(found)
    except ValueError:
        return
    if not node.satisfies(version, settings.frontend_node):
        yield (
            f"frontend_node: found Node.js {found.strip().removeprefix('v')} on {where}, expected"
            f" {settings.frontend_node!r}, as the frontend says; install such a version (nvm install), build it"
            " elsewhere (frontend_build_on), or set frontend_node"
        )
