"""Finds the paths that the program that makes a frontend's pages answers itself, beside the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slipway.starter.reading.files import Place, Repository
from slipway.starter.reading.frontend import Frontend

# Files of handlers by tool, relative to the frontend's folder; the group is the path.
_FILES = {
    "next": (
        re.compile(r"(?:src/)?app/(.+)/route\.[jt]sx?"),
        re.compile(r"(?:src/)?pages/(api(?:/.+)?)\.[jt]sx?"),
    ),
    "sveltekit": (re.compile(r"src/routes/(.+)/\+server\.[jt]s"),),
    "nuxt": (
        re.compile(r"(?:app/)?server/(api/.+?)(?:\.(?:get|post|put|patch|delete))?\.[jt]s"),
        re.compile(r"(?:app/)?server/routes/(.+?)(?:\.(?:get|post|put|patch|delete))?\.[jt]s"),
    ),
}


def handlers(repository: Repository, frontend: Frontend) -> Iterator[tuple[str, Place]]:
    """The path of each handler, up to its first parameter."""
    for file in repository.below(frontend.folder) if frontend.server else ():
        inner = file.removeprefix(f"{frontend.folder}/")
        for pattern in _FILES.get(frontend.tool, ()):
            if match := pattern.fullmatch(inner):
                yield _path(match[1]), Place(file)


def _path(folder: str) -> str:
    path = ""
    for part in folder.split("/"):
        if part.startswith("["):
            return f"{path}/"
        # A group of routes has no part of the path.
        if part != "index" and not re.fullmatch(r"\(.*\)", part):
            path += f"/{part}"
    return path
