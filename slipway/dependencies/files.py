"""The files that may list a project's dependencies, by their names."""

from __future__ import annotations

from pathlib import Path

SETTING = "backend_requirements"
LOCKS = ("uv.lock", "poetry.lock", "Pipfile.lock", "pylock.toml")
# The first that is there counts; a file for production usually includes the one that is called base.
LISTS = (
    "requirements.txt",
    *(f"requirements/{name}.txt" for name in ("production", "prod", "requirements", "main", "base", "common")),
    *(f"requirements-{name}.txt" for name in ("production", "prod")),
    "requirements.in",
)
PROJECT = "pyproject.toml"
# What others call their list, and what locks it.
UNLOCKED = {"Pipfile": "pipenv lock", "environment.yml": "", "setup.py": "", "setup.cfg": ""}
EXPECTED = f"{', '.join(LOCKS)}, requirements.txt, {PROJECT}"


def is_there(folder: Path) -> bool:
    """Whether a folder has any file that may list dependencies: a look at names alone."""
    return any((folder / name).is_file() for name in (*LOCKS, *LISTS, PROJECT, *UNLOCKED))
