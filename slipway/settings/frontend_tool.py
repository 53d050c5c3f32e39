"""What a frontend's own files tell of its build: what installs its packages, what builds it, and where that leaves it.

Nothing is run: the files are a stranger's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from slipway import project
from slipway.settings import node_versions as node

# Lock files and the program that writes each, the ones that nobody has by accident first.
LOCKS = {
    "bun.lock": "bun",
    "bun.lockb": "bun",
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "npm-shrinkwrap.json": "npm",
    "package-lock.json": "npm",
}
NPM = "npm ci --no-audit --no-fund && npm run build"
BUILDS = {
    "npm": NPM,
    "bun": "bun install --frozen-lockfile && bun run build",
    "pnpm": "pnpm install --frozen-lockfile && pnpm run build",
    "yarn": "yarn install --frozen-lockfile && yarn run build",
}
# Since version 2.
YARN_BERRY = "yarn install --immutable && yarn run build"
WITHOUT_A_LOCK = "npm install --no-audit --no-fund && npm run build"
# A page that needs no build.
NO_BUILD = "true"


class Tool(NamedTuple):
    """Something that builds frontends: the folder that it writes, and the URL path of the files with a hash of their
    content in their names."""

    output: str
    assets: str


VITE = Tool("dist", "/assets/")
# By a package that only a project which is built by it has.
TOOLS = {
    "react-scripts": Tool("build", "/static/"),
    "next": Tool("out", "/_next/static/"),
    "astro": Tool("dist", "/_astro/"),
    "vite": VITE,
}
# Where there is no package.json.
USUAL_OUTPUTS, USUAL_ASSETS = ("build", "dist", "out"), ("static", "assets", "_next/static")


def build_command(source: str, build_on: str) -> str:
    """What builds a frontend, by the lock that is there; a server has npm alone, and fetches others by it."""
    folder = project.path(source)
    if not (folder / "package.json").is_file():
        return NO_BUILD
    package = package_of(folder)
    name, version = _package_manager(folder, package)
    command = BUILDS[name] if name else WITHOUT_A_LOCK
    if name == "yarn" and _is_berry(folder):
        command = YARN_BERRY
    if build_on == "server" and name not in ("", "npm"):
        command = re.sub(rf"\b{name} (install|run)", rf"npx --yes {name}{version} \1", command)
    return command


def output(source: str) -> str:
    """The folder that the build writes, "" where the files do not tell."""
    folder = project.path(source)
    if not (folder / "package.json").is_file():
        built = [name for name in USUAL_OUTPUTS if (folder / name / "index.html").is_file()]
        return built[0] if built else "." if (folder / "index.html").is_file() else ""
    tool = _tool(folder)
    return tool.output if tool else ""


def assets(source: str, output: str) -> str:
    """The URL path of hashed files, "" where there are none, or the files do not tell."""
    folder = project.path(source)
    if not (folder / "package.json").is_file():
        there = [name for name in USUAL_ASSETS if (folder / output / name).is_dir()] if output not in ("", ".") else []
        return f"/{there[0]}/" if there else ""
    tool = _tool(folder)
    return tool.assets if tool else ""


def node_versions(source: str) -> str:
    """The versions of Node.js that a frontend says it wants, "" where it says nothing."""
    folder = project.path(source)
    for name in (".nvmrc", ".node-version"):
        for place in _up(folder):
            if (place / name).is_file():
                wanted = (place / name).read_text(errors="replace").strip()
                # One that is named to the last digit has fixes since.
                return _readable(f"^{wanted}" if re.fullmatch(r"v?\d+\.\d+\.\d+", wanted) else wanted)
    engines = package_of(folder).get("engines")
    return _readable(str(engines.get("node") or "")) if isinstance(engines, dict) else ""


def _readable(wanted: str) -> str:
    return wanted if node.is_known(wanted) else ""


def package_of(folder: Path) -> dict[str, Any]:
    """What package.json says; {} where it can't be read."""
    try:
        found = json.loads((folder / "package.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _package_manager(folder: Path, package: dict[str, Any]) -> tuple[str, str]:
    """The program that installs the packages, and its version as "@9.1.0"; "" where nothing tells."""
    name, _, version = str(package.get("packageManager") or "").partition("@")
    if name in BUILDS:
        return name, f"@{version.partition('+')[0]}" if version else ""
    lock = _lock(folder)
    return (LOCKS[lock.name], "") if lock else ("", "")


def _lock(folder: Path) -> Path | None:
    """The nearest lock: in a workspace it is further up."""
    places = (place / file for place in _up(folder) for file in LOCKS)
    return next((place for place in places if place.is_file()), None)


def lock_above(source: str) -> str:
    """The lock of the workspace that a frontend is a member of, "" if it has its own or none."""
    folder = project.path(source)
    lock = _lock(folder)
    return str(lock) if lock and lock.parent.resolve() != folder.resolve() else ""


def _up(folder: Path) -> Iterator[Path]:
    """A folder, and those that it is in, up to the project's."""
    top = project.path(".").resolve()
    yield folder
    yield from (place for place in folder.resolve().parents if place.is_relative_to(top))


def _is_berry(folder: Path) -> bool:
    locks = [place / "yarn.lock" for place in _up(folder) if (place / "yarn.lock").is_file()]
    return bool(locks) and "__metadata:" in locks[0].read_text(errors="replace")[:2000]


def _tool(folder: Path) -> Tool | None:
    package = package_of(folder)
    kinds = [package.get(kind) for kind in ("dependencies", "devDependencies")]
    names = {name for kind in kinds if isinstance(kind, dict) for name in kind}
    known = [tool for name, tool in TOOLS.items() if name in names]
    configs = sorted(folder.glob("vite.config.*"))
    if configs and (not known or known == [VITE]):
        return _vite(configs[0].read_text(errors="replace"))
    return known[0] if known else None


def _vite(config: str) -> Tool | None:
    """What Vite writes by its configuration; None where that takes more than reading."""
    config = re.sub(r"//[^\n]*|/\*.*?\*/", "", config, flags=re.DOTALL)
    found = {"outDir": VITE.output, "assetsDir": "assets"}
    for name in found:
        if re.search(rf"\b{name}\b", config):
            literal = re.search(rf"""\b{name}\s*:\s*["'`](?:\./)?([\w./-]+?)/?["'`]""", config)
            if not literal or ".." in literal[1]:
                return None
            found[name] = literal[1]
    return Tool(found["outDir"], f"/{found['assetsDir']}/")
