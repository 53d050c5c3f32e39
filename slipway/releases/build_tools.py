"""Checks for the frontend's build tools, on this machine or a server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from slipway import project
from slipway.settings import frontend_tool as tool
from slipway.settings import node_versions as node
from slipway.settings.model import Settings

HOW = {
    "npm": "install Node.js, which brings it (https://nodejs.org)",
    "yarn": "`corepack enable` or `{}` installs it",
    "pnpm": "`corepack enable` or `{}` installs it",
    "bun": "https://bun.sh describes how to install it",
}


def problems_here(settings: Settings) -> list[str]:
    """Why the frontend can't be built on this machine."""
    folder = project.path(settings.frontend_source)
    return [
        *_missing("frontend_build", settings.frontend_build, tool.manager_of(folder)),
        *_wrong_yarn("frontend_build", settings.frontend_build, folder),
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
    # init writes one that begins with the frontend's folder.
    inner = re.match(r"cd ('[^']*'|\S+) && ", settings.backend_build)
    folder = project.path(settings.backend_source) / (inner[1].strip("'\"") if inner else "")
    command = settings.backend_build
    return [
        *_missing("backend_build", command, tool.manager_of(folder)),
        *_wrong_yarn("backend_build", command, folder),
    ]


def _missing(setting: str, command: str, manager: tool.Manager | None = None) -> Iterator[str]:
    """The package managers that a command needs and that are not installed; `manager` is the frontend's."""
    for name in [name for name in HOW if name in _begun(command) and not shutil.which(name)]:
        known = manager if manager and manager.name == name else tool.Manager(name)
        how = HOW[name].format(known.installation)
        yield f"{setting}: found no {name} on this machine, which {command!r} needs; {how}"


def _begun(command: str) -> set[str]:
    """The programs that a command runs."""
    parts = [part.split() for part in re.split(r"&&|;|\|\|", command)]
    return {word for words in parts for word in words[:1]}


def _wrong_yarn(setting: str, command: str, folder: Path) -> Iterator[str]:
    """Yarn 1 accepts the lock of a newer Yarn, installs other versions than it names, and overwrites it."""
    manager = tool.manager_of(folder)
    if not manager.is_berry or "yarn" not in _begun(command):
        return
    # In the folder, whose .yarnrc.yml or packageManager may name the version that runs.
    found = _printed("yarn", folder)
    if re.match(r"[01]\.", found):
        where = manager.lock or folder / "package.json"
        yield (
            f"{setting}: found Yarn {found.strip()} on this machine, expected {manager.version}, as"
            f" {where} says; `corepack enable` or `{manager.installation}` installs it"
        )


def _node_here() -> str:
    return _printed("node", Path())


def _printed(name: str, folder: Path) -> str:
    """What a program prints as its version, "" if it is missing or fails."""
    program = shutil.which(name)
    if not program:
        return ""
    # Without corepack's question whether to download the version that package.json names.
    environment = {**os.environ, "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0"}
    command = [program, "--version"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


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
