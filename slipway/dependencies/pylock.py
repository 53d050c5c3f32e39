"""Locks in the standard format. https://packaging.python.org/en/latest/specifications/pylock-toml/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from slipway.dependencies import indexes
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError, File, Package
from slipway.dependencies.requirements import FROM_PYPI

# Descriptions of sources other than an index, by key.
OTHER_SOURCES = {"vcs": "version control", "directory": "a local folder", "archive": "an archive"}


def load(text: str, name: str) -> dict[str, Any]:
    """A parsed TOML file. Raises DependenciesError."""
    import tomllib  # few plans need it

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DependenciesError([f"{name}: found invalid TOML ({error}); restore or recreate the file"]) from error


def packages(data: Mapping[str, Any], name: str, others: Sequence[Index] = ()) -> tuple[Package, ...]:
    """The packages of a lock; `name` is the file's name for errors, `others` are indexes that it may name beside PyPI.
    Raises DependenciesError."""
    problems, found = [], []
    for entry in data.get("packages", []):
        package = f"{entry.get('name')}=={entry.get('version', '?')}"
        if kinds := [words for key, words in OTHER_SOURCES.items() if key in entry]:
            problems.append(f"{name}: found {entry.get('name')} from {kinds[0]}, {FROM_PYPI}: name a release of it")
            continue
        index = entry.get("index", "")
        if index and not indexes.is_known(index, others):
            problems.append(f"{name}: {indexes.unknown(index, package)}")
            continue
        files = [*map(_file, [*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])])]
        if not files or not all(file.sha256 for file in files):
            problems.append(f"{name}: found {package} without the SHA-256 of its files, expected them: lock it again")
            continue
        found.append(
            Package(
                canonicalize_name(entry["name"]),
                entry["version"],
                tuple(files),
                entry.get("marker", ""),
                requires_python=entry.get("requires-python", ""),
            )
        )
    if problems:
        raise DependenciesError(problems)
    return tuple(found)


def _file(entry: Mapping[str, Any]) -> File:
    url = entry.get("url", "")
    name = entry.get("name") or unquote(urlsplit(url).path.rpartition("/")[2])
    return File(entry.get("hashes", {}).get("sha256", ""), name, entry.get("size", 0), url)
