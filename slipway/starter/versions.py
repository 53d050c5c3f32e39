"""Another version of Slipway: its plans and files, to compare with the running version's."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.dependencies import uv
from slipway.engine.errors import RunFailed
from slipway.project import PACKAGE

# Folders whose files a project may override.
OVERRIDABLE = ("templates", "tasks")
PLAN_CODES = (0, 2)


@dataclass(frozen=True)
class Version:
    """An installed Slipway. `package` is the folder of its files."""

    requirement: str
    python: str
    package: Path

    def plan(self, environment: str, arguments: list[str]) -> dict[str, Any]:
        """The plan of the project in the current folder. Raises RunFailed."""
        command = [self.python, "-m", "slipway", "plan", environment, "--json", "-", *arguments]
        # Import this version's package, regardless of PYTHONPATH.
        env = {**os.environ, "PYTHONPATH": str(self.package.parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if done.returncode not in PLAN_CODES:
            raise RunFailed(f"the plan by {self.requirement} failed; nothing was changed:\n{done.stderr.strip()}")
        plan: dict[str, Any] = json.loads(done.stdout)
        return plan


def this(requirement: str) -> Version:
    """The running version."""
    return Version(requirement, sys.executable, PACKAGE)


def installed(requirement: str) -> Version:
    """The version of a pip requirement, installed into the user's cache. Raises RunFailed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "slipway/versions" / hashlib.sha256(requirement.encode()).hexdigest()[:16]
    python = folder / "bin/python"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            uv.run(["venv", "--quiet", str(folder)], Path.home())
            uv.run(["pip", "install", "--quiet", "--python", str(python), requirement], folder)
        except uv.UvFailed as error:
            shutil.rmtree(folder, ignore_errors=True)
            said = str(error).splitlines() or ["uv failed"]
            raise RunFailed(f"{requirement} could not be installed; nothing was changed: {said[-1].strip()}") from None
        (folder / ".complete").touch()
    find = "import slipway, pathlib; print(pathlib.Path(slipway.__file__).resolve().parent)"
    # -P: ignore a checkout in the current folder.
    shown = subprocess.run([str(python), "-P", "-c", find], capture_output=True, text=True, check=True, env=_clean())
    return Version(requirement, str(python), Path(shown.stdout.strip()))


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@dataclass(frozen=True)
class Difference:
    """An operation of a host that differs between two plans, or is only in one."""

    host: str
    operation: str
    old: str
    new: str


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    """The differences of two plans of the same hosts, by host and operation."""
    before, after = dict(_operations(old)), dict(_operations(new))
    return [
        Difference(host, operation, before.get((host, operation), ""), after.get((host, operation), ""))
        for host, operation in [*after, *(key for key in before if key not in after)]
        if before.get((host, operation)) != after.get((host, operation))
    ]


def _operations(plan: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    for host in plan["hosts"]:
        for component in host["components"]:
            for change in component["changes"]:
                said = "\n".join([*change["reasons"], *change["diffs"]])
                yield (host["name"], f"{component['name']}: {change['operation']}"), said or "(no details)"


def overridden(project: Path, old: Version, new: Version) -> Iterator[tuple[str, str]]:
    """The project's overriding files whose original differs between two versions, each with that diff."""
    for kind in OVERRIDABLE:
        for file in sorted((project / kind).rglob("*")):
            name = file.relative_to(project)
            before, after = (_text(version.package / name) for version in (old, new))
            if file.is_file() and before and before != after:
                lines = difflib.unified_diff(
                    before.splitlines(), after.splitlines(), f"{name} ({old.requirement})", f"{name} (new)", lineterm=""
                )
                yield str(name), "\n".join(lines)


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""
