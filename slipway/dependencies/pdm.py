"""pdm.lock, since PDM 2.11: each package has its groups and markers. https://pdm-project.org/latest/usage/lockfile/"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from slipway.dependencies import pylock
from slipway.dependencies.model import DependenciesError, File, Locked, Package
from slipway.dependencies.requirements import FROM_PYPI, text_of

Entry = Mapping[str, Any]
GROUP = "default"
# Keys of a package that is from elsewhere than an index.
OTHER_SOURCES = {"git": "version control", "path": "a local folder", "url": "a file's URL"}


def locked(file: Path, name: str) -> Locked:
    """The packages of the group "default". Raises DependenciesError."""
    lock = pylock.load(text_of(file), name)
    own = file.with_name("pyproject.toml")
    project = pylock.load(text_of(own), own.name).get("project", {}) if own.is_file() else {}
    metadata = lock.get("metadata", {})
    if "inherit_metadata" not in metadata.get("strategy", []):
        raise DependenciesError([f"{name}: found packages without their groups: run `pdm lock -S inherit_metadata`"])
    chosen = [one for one in lock.get("package", []) if GROUP in one.get("groups", [])]
    # With extras a package has another entry, of the same files.
    found = {(package.name, package.version): package for package in map(_package, chosen)}
    if problems := [*_problems(chosen, name), *_stale(project, found, name)]:
        raise DependenciesError(problems)
    targets = [str(one["requires_python"]) for one in metadata.get("targets", []) if one.get("requires_python")]
    wanted = [(name, targets[0] if len(targets) == 1 else ""), (own.name, project.get("requires-python", ""))]
    return Locked(name, tuple(found.values()), tuple((who, specifier) for who, specifier in wanted if specifier))


def _package(entry: Entry) -> Package:
    files = [one for one in entry.get("files", []) if one.get("hash", "").startswith("sha256:")]
    return Package(
        canonicalize_name(entry["name"]),
        entry["version"],
        tuple(File(one["hash"].removeprefix("sha256:"), one.get("file", ""), url=one.get("url", "")) for one in files),
        entry.get("marker", ""),
        requires_python=entry.get("requires_python", ""),
    )


def _problems(chosen: Sequence[Entry], name: str) -> Iterator[str]:
    for entry in chosen:
        if kinds := [words for key, words in OTHER_SOURCES.items() if entry.get(key)]:
            yield f"{name}: found {entry['name']} from {kinds[0]}, {FROM_PYPI}: name a release of it"
        elif not _package(entry).files:
            yield f"{name}: found {entry['name']} without hashes, expected them: run `pdm lock`"


def _stale(project: Entry, found: Mapping[tuple[str, str], Package], name: str) -> Iterator[str]:
    """Dependencies of pyproject.toml that the lock does not fulfil."""
    changed = []
    for text in project.get("dependencies", []):
        try:
            one = Requirement(text)
        except InvalidRequirement as error:
            yield f"pyproject.toml: found an invalid dependency: {error}"
            continue
        versions = [version for its, version in found if its == canonicalize_name(one.name)]
        if not one.url and not any(one.specifier.contains(version, prereleases=True) for version in versions):
            changed.append(one.name)
    if changed:
        yield f"{name} is older than pyproject.toml ({', '.join(changed)} changed): run `pdm lock`, and commit it"
