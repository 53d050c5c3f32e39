"""What can be told of a project by reading it: where its backend and its frontend are, and what starts them.

Nothing is imported or run: the code is a stranger's.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.dependencies import files

# Folders that hold no source of the project's own.
SKIPPED = {"node_modules", "venv", "env", "site-packages", "dist", "build", "__pycache__", "tests", "test", "docs"}
# How many folders below the project a part may be.
DEPTH = 3


@dataclass(frozen=True)
class Found:
    """A setting's value, and where it was found."""

    setting: str
    value: Any
    where: str


def found_in(project: Path) -> list[Found]:
    """What the files below `project` tell, each setting once."""
    return [*_backend(project), *_frontend(project)]


def folders(top: Path, depth: int = DEPTH) -> Iterator[Path]:
    """`top` and the folders below it that may hold source, the nearest first."""
    level = [top]
    for _ in range(depth + 1):
        yield from level
        level = sorted(
            child
            for folder in level
            for child in folder.iterdir()
            if child.is_dir()
            and not child.is_symlink()
            and not child.name.startswith(".")
            and child.name not in SKIPPED
        )


def _backend(project: Path) -> Iterator[Found]:
    applications = [found for folder in folders(project) for found in _applications(folder)]
    if not applications:
        return
    # main.py or the like, before what only makes one for others.
    file, name = min(
        applications, key=lambda found: (len(found[0].parts), found[0].stem not in ("main", "app", "server"))
    )
    source = next((one for one in file.parents if _has_dependencies(one)), file.parent)
    if not source.is_relative_to(project):
        source = file.parent
    module = ".".join(file.relative_to(source).with_suffix("").parts)
    if module.endswith(".__init__"):
        module = module.removesuffix(".__init__")
    yield Found("backend_source", _relative(source, project), f"{_relative(file, project)} makes a FastAPI application")
    yield Found("backend_app", f"{module}:{name}", f"{_relative(file, project)}: {name} = FastAPI(...)")


def _has_dependencies(folder: Path) -> bool:
    return files.is_there(folder) or (folder / "requirements").is_dir()


def _applications(folder: Path) -> Iterator[tuple[Path, str]]:
    """Modules of a folder with an application at their top level, and its name there."""
    for file in sorted(folder.glob("*.py")):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
            tree = ast.parse(text) if "FastAPI" in text else None
        except (SyntaxError, ValueError, OSError):
            continue
        for statement in tree.body if tree else ():
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            value = getattr(statement, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.Call) and _called(value) == "FastAPI":
                yield file, target.id


def _called(call: ast.Call) -> str:
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _frontend(project: Path) -> Iterator[Found]:
    for folder in folders(project):
        try:
            package = json.loads((folder / "package.json").read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue
        if isinstance(package, dict) and "build" in (package.get("scripts") or {}):
            where = f"{_relative(folder / 'package.json', project)} has a build script"
            yield Found("frontend_source", _relative(folder, project), where)
            return


def _relative(path: Path, project: Path) -> str:
    return str(path.relative_to(project)) if path != project else "."
