"""The names of files that may list a project's dependencies."""

from __future__ import annotations

from pathlib import Path

SETTING = "backend_requirements"
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
# The first existing one is used; a file for production usually includes base.txt.
LISTS = (
    "requirements.txt",
    *(f"requirements/{name}.txt" for name in ("production", "prod", "requirements", "main", "base", "common")),
    *(f"requirements-{name}.txt" for name in ("production", "prod")),
    "requirements.in",
)
PROJECT = "pyproject.toml"
# Lists of other tools, and the command that locks them.
UNLOCKED = {"Pipfile": "pipenv lock", "environment.yml": "", "setup.py": "", "setup.cfg": ""}
EXPECTED = f"{', '.join(LOCKS)}, requirements.txt, {PROJECT}"


def is_there(folder: Path) -> bool:
    """Whether a folder has a file that may list dependencies, by its name."""
    return any((folder / name).is_file() for name in (*LOCKS, *LISTS, PROJECT, *UNLOCKED))
