"""Pipfile.lock. https://pipenv.pypa.io/en/latest/pipfile.html"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from slipway.dependencies import indexes, pylock
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError, File, Locked, Package
from slipway.dependencies.requirements import FROM_PYPI, text_of

# Descriptions of sources other than an index, by key.
OTHER_SOURCES = {
    **dict.fromkeys(("git", "hg", "svn"), "version control"),
    **dict.fromkeys(("path", "editable"), "a local folder"),
    "file": "a file's URL",
}


def locked(file: Path, name: str, others: Sequence[Index] = ()) -> Locked:
    """The packages of the section "default". Raises DependenciesError."""
    try:
        lock = json.loads(text_of(file))
        meta, default = lock["_meta"], lock["default"]
    except (ValueError, KeyError, TypeError) as error:
        raise DependenciesError([f"{name}: found no valid pipenv lock: run `pipenv lock`"]) from error
    pipfile = file.with_name("Pipfile")
    problems = []
    if pipfile.is_file() and _content_hash(pylock.load(text_of(pipfile), "Pipfile")) != meta["hash"]["sha256"]:
        problems.append(f"{name} is older than Pipfile: run `pipenv lock`, and commit it")
    problems += [
        f"{name}: {indexes.unknown(source['url'])}"
        for source in meta.get("sources", [])
        if not indexes.is_known(source["url"], others)
    ]
    packages = []
    for package, entry in default.items():
        if kinds := [words for key, words in OTHER_SOURCES.items() if key in entry]:
            problems.append(f"{name}: found {package} from {kinds[0]}, {FROM_PYPI}: name a release of it")
        elif not (entry.get("version", "").startswith("==") and entry.get("hashes")):
            problems.append(f"{name}: found {package} without version or hashes, expected both: run `pipenv lock`")
        else:
            packages.append(_package(package, entry))
    if problems:
        raise DependenciesError(problems)
    python = meta.get("requires", {})
    full, minor = python.get("python_full_version", ""), python.get("python_version", "")
    wanted = f"=={full}" if full else f"=={minor}.*" if minor else ""
    return Locked(name, tuple(packages), (("Pipfile", wanted),) if wanted else ())


def _package(name: str, entry: Mapping[str, Any]) -> Package:
    hashes = (digest.partition(":") for digest in entry["hashes"])
    return Package(
        canonicalize_name(name),
        entry["version"].removeprefix("=="),
        tuple(File(digest) for algorithm, _, digest in hashes if algorithm == "sha256"),
        entry.get("markers", ""),
        tuple(sorted(entry.get("extras", []))),
    )


def _content_hash(pipfile: Mapping[str, Any]) -> str:
    """The hash as pipenv computes it. https://github.com/sarugaku/plette/blob/master/src/plette/pipfiles.py"""
    content = {
        "_meta": {"sources": pipfile.get("source", []), "requires": pipfile.get("requires", {})},
        "default": pipfile.get("packages", {}),
        "develop": pipfile.get("dev-packages", {}),
    }
    known = ("source", "requires", "packages", "dev-packages", "pipenv", "scripts", "default", "develop", "pipfile")
    content |= {category: values for category, values in pipfile.items() if category not in known}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
