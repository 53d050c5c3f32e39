"""The files of a new project. What is there already stays as it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from slipway import pin
from slipway.settings.doc import literal

FILES = {
    "inventory.py.j2": "inventory.py",
    "all.py.j2": "group_data/all.py",
    "deploy.py": "deploy.py",
    "release.py": "release.py",
    "rollback.py": "rollback.py",
    "gitignore": ".gitignore",
    "requirements.txt.j2": pin.FILE,
}
WORKFLOW, WORKFLOW_FILE = "workflow.yml.j2", ".github/workflows/slipway.yml"

# GitHub's expressions are in ${{ }}.
_files = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parent / "files"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  Python and YAML, not HTML
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<#",
    comment_end_string="#>",
)
_files.filters["literal"] = literal


def write(project: Path, values: Mapping[str, Any]) -> tuple[list[Path], list[Path]]:
    """Write the files of a project, and the workflow into the git repository that it is in. Returns those that were
    written, and those that were there."""
    top = repository_of(project) or project
    folder = str(project.relative_to(top)) if project != top else "."
    known = {**values, "pin_file": pin.FILE, "requirement": pin.running(), "folder": folder}
    places = {project / path: name for name, path in FILES.items()} | {top / WORKFLOW_FILE: WORKFLOW}
    there = [path for path in places if path.exists() or path.is_symlink()]
    written = [path for path in places if path not in there]
    texts = {path: _files.get_template(places[path]).render(**known) for path in written}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x": it may have come into being since.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
            file.write(text)
    return written, there


def repository_of(folder: Path) -> Path | None:
    """The top of the git repository that a folder is in."""
    command = ["git", "-C", str(folder), "rev-parse", "--show-toplevel"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 else None
