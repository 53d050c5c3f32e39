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
# Since version 2, which npm has under another name: the package "yarn" is version 1, which ignores the lock of a newer
# one, and overwrites it. https://yarnpkg.com/getting-started/install
BERRY = "yarn since version 2"
BERRY_PACKAGE = "@yarnpkg/cli-dist"
YARN_BERRY = "yarn install --immutable && yarn run build"
WITHOUT_A_LOCK = {
    "npm": "npm install --no-audit --no-fund && npm run build",
    "bun": "bun install && bun run build",
    "pnpm": "pnpm install --no-frozen-lockfile && pnpm run build",
    "yarn": "yarn install && yarn run build",
    BERRY: "yarn install --no-immutable && yarn run build",
}
# The versions of locks, and the last Yarn that writes each: a newer one changes it, which --immutable refuses.
_LOCKS_OF_BERRY = ((10, "4"), (9, "4.14"), (8, "4.13"), (6, "3"), (5, "3.1"), (0, "2"))
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


class Manager(NamedTuple):
    """The program that installs a frontend's packages. `version` is such as "9.1.0", "" if the files do not name one;
    `lock` is that of this program, None for none."""

    name: str
    version: str = ""
    lock: Path | None = None
    is_berry: bool = False

    @property
    def build(self) -> str:
        """The command that installs the packages and builds the frontend."""
        if not self.lock:
            return WITHOUT_A_LOCK[BERRY if self.is_berry else self.name]
        return YARN_BERRY if self.is_berry else BUILDS[self.name]

    @property
    def package(self) -> str:
        """The program as a package of npm, with its version."""
        name = BERRY_PACKAGE if self.is_berry else self.name
        return f"{name}@{self.version}" if self.version else name

    @property
    def installation(self) -> str:
        """The command that installs the program."""
        return f"npm install --global {self.package}"


def manager_of(folder: Path, top: Path | None = None) -> Manager:
    """The program that installs the packages of the frontend in a folder: the one that package.json names, else that
    of the nearest lock, up to the folder `top` (the project's)."""
    name, _, version = str(package_of(folder).get("packageManager") or "").partition("@")
    version = version.partition("+")[0]
    lock = _lock(folder, top, name if name in BUILDS else "")
    if name not in BUILDS:
        name, version = LOCKS[lock.name] if lock else "npm", ""
    if name != "yarn":
        return Manager(name, version, lock)
    text = lock.read_text(errors="replace")[:2000] if lock else ""
    if "__metadata:" not in text:
        is_named = bool(re.match(r"[2-9]|\d\d", version))
        return Manager(name, version, None if is_named else lock, is_named)
    written = re.search(r"__metadata:\s+version: (\d+)", text)
    its = next(last for first, last in _LOCKS_OF_BERRY if int(written[1] if written else 10) >= first)
    return Manager(name, its if version[:2] in ("", "1.") else version, lock, is_berry=True)


def build_command(source: str, build_on: str) -> str:
    """What builds a frontend, by the lock that is there; a server has npm alone, and fetches others by it."""
    folder = project.path(source)
    if not (folder / "package.json").is_file():
        return NO_BUILD
    manager = manager_of(folder)
    if build_on == "server" and manager.name != "npm":
        return re.sub(rf"\b{manager.name} (install|run)", rf"npx --yes {manager.package} \1", manager.build)
    return manager.build


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


def _lock(folder: Path, top: Path | None = None, manager: str = "") -> Path | None:
    """The nearest lock, of `manager` if that is given: in a workspace it is further up."""
    places = (place / file for place in _up(folder, top) for file in LOCKS if manager in ("", LOCKS[file]))
    return next((place for place in places if place.is_file()), None)


def lock_above(source: str) -> str:
    """The lock of the workspace that a frontend is a member of, "" if it has its own or none."""
    folder = project.path(source)
    lock = _lock(folder)
    return str(lock) if lock and lock.parent.resolve() != folder.resolve() else ""


def _up(folder: Path, top: Path | None = None) -> Iterator[Path]:
    """A folder, and those that it is in, up to `top` (the project's)."""
    top = (top or project.path(".")).resolve()
    yield folder
    yield from (place for place in folder.resolve().parents if place.is_relative_to(top))


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
