"""Slipway's own lock for a project without one: pylock.slipway.toml, next to the source, to be committed.

uv resolves the project's list, for one version of Python on Linux, to the fitting files of each package. The lock also
records its inputs, so that an outdated one is detected.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from slipway.dependencies import incompatible, indexes, pylock, uv
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError, Locked
from slipway.dependencies.requirements import Entry, Requirements, text_of
from slipway.dependencies.target import UV_PLATFORM

NAME = "pylock.slipway.toml"
COMMAND = "slipway lock"
HEAD = """\
# Locked by Slipway from {source}, for Python {python} on Linux (x86_64). Commit this file.
# After a change run `slipway lock`; `slipway lock --upgrade` takes newer versions.
"""


@dataclass(frozen=True)
class Inputs:
    """What a lock is made from. `requires_python` is the project's, "" if it has none."""

    source: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    prereleases: bool = False
    requires_python: str = ""
    built: frozenset[str] = frozenset()
    # Where packages are looked for before PyPI.
    indexes: tuple[Index, ...] = ()

    @property
    def digest(self) -> str:
        """Changes with anything that may affect the lock, but not with comments, order or encoding."""
        content: list[Any] = [
            *(sorted(self.requirements), sorted(self.constraints), self.prereleases, sorted(self.built)),
            # Without indexes the digest stays what it was in locks made earlier.
            *([[indexes.bare(one.url) for one in self.indexes]] if self.indexes else []),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def of_list(name: str, found: Requirements, built: Collection[str], others: tuple[Index, ...] = ()) -> Inputs:
    return Inputs(
        name,
        tuple(entry.text for entry in found.entries),
        tuple(entry.text for entry in found.constraints),
        found.prereleases,
        built=frozenset(built),
        indexes=others,
    )


def of_project(text: str, name: str, built: Collection[str], others: tuple[Index, ...] = ()) -> Inputs:
    """The dependencies in a pyproject.toml. Raises DependenciesError."""
    data = pylock.load(text, name)
    problems, requirements = [], []
    if any(key in data.get("tool", {}).get("uv", {}) for key in ("sources", "index", "override-dependencies")):
        problems.append(
            f"{name}: found settings of uv for dependencies, expected a lock: run `uv lock`, and commit uv.lock"
        )
    for dependency in data["project"]["dependencies"]:
        try:
            requirement = Requirement(dependency)
        except InvalidRequirement as error:
            problems.append(f"{name}: found the invalid dependency {dependency!r}: {error}")
            continue
        if requirement.url:
            problems.append(f"{name}: found {dependency}, expected a package of PyPI: name a release of it")
        requirements.append(Entry(requirement, (), name).text)
    if problems:
        raise DependenciesError(problems)
    return Inputs(
        name,
        tuple(requirements),
        requires_python=data["project"].get("requires-python", ""),
        built=frozenset(built),
        indexes=others,
    )


def load(folder: Path, inputs: Inputs) -> Locked:
    """The lock in a folder. Raises DependenciesError if there is none, or one of other inputs."""
    file = folder / NAME
    if not file.is_file():
        raise DependenciesError(
            [f"{inputs.source}: found no hashes of its packages, expected a lock: run `{COMMAND}`, and commit {NAME}"]
        )
    data = pylock.load(text_of(file), NAME)
    its: dict[str, Any] = data.get("tool", {}).get("slipway", {})
    if its.get("inputs") != inputs.digest:
        raise DependenciesError([f"{NAME} is older than {inputs.source}: run `{COMMAND}`, and commit it"])
    python = ((inputs.source, inputs.requires_python),) if inputs.requires_python else ()
    return Locked(NAME, pylock.packages(data, NAME, inputs.indexes), python, for_python=its.get("python", ""))


def make(before: Path, inputs: Inputs, python: str, upgrade: bool = False) -> str:
    """The text of a lock for a minor version of Python, keeping the versions of the previous lock if possible. Raises
    UvFailed if there is no solution."""
    earlier = text_of(before) if before.is_file() and not upgrade else ""
    resolved = compiled(inputs, python, before=earlier)
    if not incompatible.is_within(versions(resolved)):
        limited = replace(inputs, constraints=(*inputs.constraints, *incompatible.limits(versions(resolved))))
        # A list that names the version itself gets it.
        with suppress(uv.UvFailed):
            resolved = compiled(limited, python, before=earlier)
    head = HEAD.format(source=inputs.source, python=python)
    if incompatible.is_within(found := versions(resolved)):
        head += "".join(f"# {limit}: {reason}.\n" for limit, reason in incompatible.limits(found).items())
    its = {"source": inputs.source, "inputs": inputs.digest, "python": python}
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in its.items())
    return f"{head}{resolved.rstrip()}\n\n[tool.slipway]\n{table}"


def compiled(inputs: Inputs, python: str, before: str = "", no_deps: bool = False, universal: bool = False) -> str:
    """The inputs as uv compiles them to a lock: for a minor version of Python on Linux, or `universal` for it and all
    later ones. `before` is a lock whose versions are kept if possible. Raises UvFailed if there is no solution."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        work = Path(name)
        if before:
            (work / NAME).write_text(before)
        options = ["--python-version", python, "--only-binary", ":all:"]
        options += ["--universal"] if universal else ["--python-platform", UV_PLATFORM]
        for package in sorted(inputs.built):
            options += ["--no-binary", package]
        if inputs.prereleases:
            options += ["--prerelease", "allow"]
        if no_deps:
            options.append("--no-deps")
        (work / "requirements.in").write_text("".join(f"{line}\n" for line in inputs.requirements))
        (work / "constraints.in").write_text("".join(f"{line}\n" for line in inputs.constraints))
        words = ["pip", "compile", *options, "--no-header", "--no-annotate", "--quiet", "--format", "pylock.toml"]
        uv.run(
            [*words, "--constraints", "constraints.in", "--output-file", NAME, "requirements.in"], work, inputs.indexes
        )
        return (work / NAME).read_text()


def versions(text: str) -> dict[str, str]:
    """The versions in a lock by package; `{}` if it is not a lock."""
    try:
        return {one["name"]: one["version"] for one in pylock.load(text, NAME).get("packages", [])}
    except (DependenciesError, KeyError):
        return {}
