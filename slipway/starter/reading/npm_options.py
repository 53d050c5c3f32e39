"""Finds the options by which a repository's files install the packages of its frontend."""

from __future__ import annotations

import posixpath
import re

from slipway.starter.reading.files import Place, Repository, folder_of, line_of

_INSTALLS = re.compile(
    r"\bnpm[\"',\s]+(?:ci|i|install)\b(?![^\n&|;]*?(?:\s-g|--global)\b)[^\n&|;]*?(?:--legacy-peer-deps|--force\b|\s-f\b)"
)
_FILE = re.compile(r"(.*\.)?dockerfile(\..*)?|readme(\..*)?|makefile|.*\.sh|vercel\.json|netlify\.toml", re.IGNORECASE)


def without_peers(repository: Repository, folder: str) -> Place | None:
    """Where packages of the frontend in a folder are installed although their peer dependencies conflict, None for
    nowhere. npm reads an .npmrc itself."""
    for file in repository.files:
        # A file at the top, such as the README, may tell of any part.
        if folder_of(file) not in (folder, "", posixpath.dirname(folder)) or not _FILE.fullmatch(
            file.rpartition("/")[2]
        ):
            continue
        text = repository.read(file) or ""
        if match := _INSTALLS.search(text):
            return Place(file, line_of(text, match.start()))
    return None
