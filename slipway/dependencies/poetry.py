"""poetry.lock, of all versions of Poetry. https://python-poetry.org/docs/

Since lock version 2.1 (Poetry 2.0) each package has its groups and markers. In older locks the dependencies are
followed from pyproject.toml, for one version of Python.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from slipway.dependencies import indexes, pylock
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError, File, Locked, Package
from slipway.dependencies.requirements import FROM_PYPI, text_of
from slipway.dependencies.target import environment

OTHER_SOURCES = {"git": "version control", "directory": "a local folder", "file": "a local file", "url": "a file's URL"}
Entry = Mapping[str, Any]


def locked(file: Path, name: str, python: str, others: Sequence[Index] = ()) -> Locked:
    """The packages of the group "main" for a version of Python such as "3.11.2". Raises DependenciesError."""
    lock = pylock.load(text_of(file), name)
    own = file.with_name("pyproject.toml")
    if not own.is_file():
        raise DependenciesError(
            [f"{name}: found no pyproject.toml next to it, expected the one that it locks: restore it"]
        )
    project = pylock.load(text_of(own), "pyproject.toml")
    metadata = lock.get("metadata", {})
    if metadata.get("content-hash") not in _content_hashes(project):
        raise DependenciesError([f"{name} is older than pyproject.toml: run `poetry lock`, and commit it"])
    entries = lock.get("package", [])
    if Version(metadata.get("lock-version", "1.0")) >= Version("2.1"):
        chosen = [one for one in entries if "main" in one.get("groups", []) and not one.get("optional")]
    else:
        chosen = [*_reached(project, entries, python, name)]
    files = metadata.get("files", {})
    if problems := [*_problems(chosen, files, name, others)]:
        raise DependenciesError(problems)
    wanted = _specifier(metadata.get("python-versions", "*"))
    packages = tuple(_package(one, files) for one in chosen)
    return Locked(name, packages, ((name, wanted),) if wanted else ())


def _package(entry: Entry, files: Mapping[str, Any]) -> Package:
    markers = entry.get("markers", "")
    return Package(
        canonicalize_name(entry["name"]),
        entry["version"],
        tuple(_files(entry, files)),
        # A package in several groups may have a marker for each.
        markers.get("main", "") if isinstance(markers, dict) else markers,
        requires_python=_specifier(entry.get("python-versions", "*")),
    )


def _files(entry: Entry, files: Mapping[str, Any]) -> Iterator[File]:
    for file in entry.get("files") or files.get(entry["name"], []):
        algorithm, _, digest = file["hash"].partition(":")
        if algorithm == "sha256":
            yield File(digest, file["file"])


def _problems(chosen: Iterable[Entry], files: Mapping[str, Any], name: str, others: Sequence[Index]) -> Iterator[str]:
    for entry in chosen:
        source = entry.get("source", {})
        if source.get("type") in OTHER_SOURCES:
            kind = OTHER_SOURCES[source["type"]]
            yield f"{name}: found {entry['name']} from {kind}, {FROM_PYPI}: name a release of it"
        elif source and not indexes.is_known(source.get("url", ""), others):
            yield f"{name}: {indexes.unknown(source.get('url', ''), entry['name'])}"
        elif not [*_files(entry, files)]:
            yield f"{name}: found {entry['name']} without hashes, expected them: run `poetry lock`"


# --- Older locks ------------------------------------------------------------------------------------------------------


def _reached(project: Entry, entries: Iterable[Entry], python: str, name: str) -> Iterator[Entry]:
    """The entries that the project needs, by following dependencies. Raises DependenciesError."""
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        by_name.setdefault(canonicalize_name(entry["name"]), []).append(entry)
    found: dict[str, Entry] = {}
    followed: dict[str, set[str]] = {}
    waiting = [*_wanted(_of_project(project), {""}, python)]
    while waiting:
        wanted, constraint, extras = waiting.pop()
        if wanted not in found:
            found[wanted] = _chosen(by_name.get(wanted, []), wanted, constraint, python, name)
        before = followed.setdefault(wanted, set())
        if new := {"", *extras} - before:
            before |= new
            waiting += _wanted(found[wanted].get("dependencies", {}), new, python)
    yield from (found[wanted] for wanted in sorted(found))


def _of_project(project: Entry) -> dict[str, Any]:
    """The dependencies of a project in Poetry's format."""
    poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    found = {name: value for name, value in poetry.items() if name.lower() != "python"}
    for text in project.get("project", {}).get("dependencies", []):
        try:
            one = Requirement(text)
        except InvalidRequirement as error:
            raise DependenciesError([f"pyproject.toml: found an invalid dependency: {error}"]) from error
        markers = str(one.marker or "")
        found.setdefault(one.name, {"version": "*", "extras": [*one.extras], "markers": markers})
    return found


def _wanted(dependencies: Entry, extras: set[str], python: str) -> Iterator[tuple[str, str, set[str]]]:
    """Name, constraint and extras of the dependencies that apply with some extras."""
    for name, value in dependencies.items():
        for one in value if isinstance(value, list) else [value]:
            its = {"version": one} if isinstance(one, str) else one
            marker = its.get("markers", "")
            if its.get("optional") and "extra" not in marker:
                continue
            if not allows(its.get("python", "*"), python):
                continue
            if marker and not any(Marker(marker).evaluate({**environment(python), "extra": e}) for e in extras):
                continue
            yield canonicalize_name(name), its.get("version", "*"), set(its.get("extras", []))


def _chosen(candidates: list[Entry], wanted: str, constraint: str, python: str, name: str) -> Entry:
    fitting = [one for one in candidates if allows(one.get("python-versions", "*"), python)] or candidates
    if len(fitting) > 1:
        fitting = [one for one in fitting if allows(constraint, one["version"])]
    if not fitting:
        raise DependenciesError([f"{name}: found no {wanted} for Python {python}: run `poetry lock`"])
    return fitting[0]


# --- Poetry's constraints ---------------------------------------------------------------------------------------------


def allows(constraint: str, version: str) -> bool:
    """Whether a constraint such as "^1.2 || >=3,<4" has a version. https://python-poetry.org/docs/dependency-specification/"""
    return any(one.contains(version, prereleases=True) for one in _alternatives(constraint))


def _specifier(constraint: str) -> str:
    """A constraint as a version specifier, "" if it can't be one."""
    found = _alternatives(constraint)
    return str(found[0]) if len(found) == 1 else ""


def _alternatives(constraint: str) -> list[SpecifierSet]:
    return [
        SpecifierSet(",".join(_clause(clause) for clause in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", part) if clause))
        for part in (re.sub(r"([<>=!~^])\s+", r"\1", part).strip() for part in constraint.split("||"))
    ]


def _clause(clause: str) -> str:
    if clause == "*":
        return ""
    if match := re.fullmatch(r"(\^|~(?!=))(.+)", clause):
        release = [*Version(match[2]).release]
        # ^ keeps the first non-zero part, ~ the second part.
        keep = next((n for n, part in enumerate(release) if part), len(release) - 1) if match[1] == "^" else 1
        keep = min(keep, len(release) - 1)
        above = [*release[:keep], release[keep] + 1]
        return f">={match[2]},<{'.'.join(map(str, above))}"
    return clause if clause[0] in "<>=!~" else f"=={clause}"


def _content_hashes(project: Entry) -> set[str]:
    """Poetry's content hashes of pyproject.toml, with and without the groups of PEP 735, as its versions differ.
    https://github.com/python-poetry/poetry/blob/2.1.0/src/poetry/packages/locker.py"""
    poetry = project.get("tool", {}).get("poetry", {})
    keys = ("requires-python", "dependencies", "optional-dependencies")
    own = {key: project["project"][key] for key in keys if project.get("project", {}).get(key) is not None}
    old_keys = ("dependencies", "source", "extras", "dev-dependencies")
    hashes = set()
    variants: list[Entry] = [{}, project.get("dependency-groups", {})]
    for groups in variants:
        tool = {
            key: poetry.get(key)
            for key in (*old_keys, "group")
            if poetry.get(key) is not None or (key in old_keys and not own and not groups)
        }
        content = {**({"project": own} if own else {}), **({"dependency-groups": groups} if groups else {})}
        content = {**content, "tool": {"poetry": tool}} if content else tool
        hashes.add(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    return hashes
