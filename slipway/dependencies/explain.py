"""Why dependencies can't be resolved for a Python: all reasons at once, while uv stops at the first."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import SpecifierSet

from slipway.dependencies import indexes, lockfile, pylock, uv
from slipway.dependencies.lockfile import Inputs
from slipway.dependencies.model import DependenciesError, minor_of
from slipway.dependencies.target import MINORS, fits, tags


def lock(folder: Path, wanted: Inputs, python: str, upgrade: bool = False, name: str = lockfile.NAME) -> str:
    """The text of a lock for a minor version of Python. Raises DependenciesError with all reasons."""
    if wanted.requires_python and (problem := wrong_python(wanted.source, wanted.requires_python, python)):
        raise DependenciesError([problem])
    try:
        return lockfile.make(folder / name, wanted, python, upgrade)
    except uv.UvFailed as error:
        raise DependenciesError([*reasons(wanted, python)] or [f"{wanted.source}: {said(str(error))}"]) from error


@dataclass(frozen=True)
class NoWheel:
    """A package that has wheels only for the versions of Python `others`."""

    source: str
    package: str
    others: tuple[str, ...]


def reasons(wanted: Inputs, python: str) -> Iterator[str]:
    """A line for each requirement that can't be installed even alone."""
    with ThreadPoolExecutor(4) as pool:
        lines = wanted.requirements
        found = [*pool.map(lambda line: _reason(replace(wanted, requirements=(line,)), python), lines)]
    # One Python for all of them, if there is one.
    allowed = SpecifierSet(wanted.requires_python)
    shared = [one for one in MINORS if allowed.contains(f"{one}.99", prereleases=True)]
    for one in found:
        shared = [minor for minor in shared if minor in one.others] if isinstance(one, NoWheel) else shared
    if any("needs Python" in one for one in found if isinstance(one, str)):
        shared = []
    for one in found:
        if one:
            yield no_wheel(one.source, one.package, python, one.others, shared) if isinstance(one, NoWheel) else one


def _reason(alone: Inputs, python: str) -> str | NoWheel:
    try:
        # Without its dependencies, which are many: a complete list names them too.
        lockfile.compiled(alone, python, no_deps=True)
    except uv.UvFailed as error:
        return _reason_of(str(error), alone, python) if uv.is_unsatisfiable(str(error)) else ""
    return ""


def _reason_of(failure: str, alone: Inputs, python: str) -> str | NoWheel:
    # uv wraps its lines.
    text, source, package = " ".join(failure.split()), alone.source, alone.requirements[0].partition(" ;")[0]
    if refused := re.search(r"index URL \((\S+?)\) could not be queried due to .*?\((40[13]) ", text):
        return refused_login(source, refused[1], refused[2], alone)
    if wanted := _python_of(text):
        return wrong_python(f"{source}: {wanted[0]}", wanted[1], python) or f"{source}: {package}: {said(text)}"
    if match := re.search(r"Because (\S+) has no (?:usable wheels|wheels with a matching .*? tag)", text):
        if platforms := re.search(r"following platforms?: ((?:`\w+`(?:, )?)+)", text):
            there = platforms[1].replace("`", "")
            return (
                f"{source}: {match[1]} has files only for {there}: add a marker as"
                f' {match[1]} ; sys_platform == "win32", or remove it'
            )
        return _no_wheel_here(alone, match[1], python)
    if "was not found in the package registry" in text:
        return f"{source}: {package}: PyPI has no such package; correct the name, or remove it"
    if "there is no version" in text or "no versions of" in text:
        return f"{source}: {package}: PyPI has no such version"
    return f"{source}: {package}: {said(text)}"


def refused_login(source: str, url: str, status: str, wanted: Inputs) -> str:
    """That an index wants another login, and where that comes from."""
    name = next((one.name for one in wanted.indexes if indexes.bare(one.url) == indexes.bare(url)), "")
    names = f" as the secrets {' and '.join(indexes.login_names(name))}" if name else ""
    return f"{source}: the package index {indexes.bare(url)} answers {status}: give the login to it{names}"


def _python_of(text: str) -> tuple[str, str] | None:
    """The package and its Python specifier in uv's message."""
    match = re.search(r"(\S+) depends on Python([<>=!~]\S*?),? (?:and|we)", text)
    return (match[1], match[2]) if match else None


def _no_wheel_here(alone: Inputs, package: str, python: str) -> str | NoWheel:
    """Find out for which other versions of Python it has wheels."""
    try:
        text = lockfile.compiled(alone, MINORS[0], no_deps=True, universal=True)
    except uv.UvFailed as error:
        who, specifier = _python_of(" ".join(str(error).split())) or (package, "")
        return wrong_python(f"{alone.source}: {who}", specifier, python) or NoWheel(alone.source, package, ())
    there = pylock.packages(pylock.load(text, alone.source), alone.source, alone.indexes)
    files = [file for found in there for file in found.files]
    others = tuple(one for one in MINORS if any(fits(file, tags(one)) for file in files))
    return NoWheel(alone.source, package, others)


def no_wheel(source: str, package: str, python: str, others: Iterable[str], shared: Collection[str] = ()) -> str:
    """`others` are the versions of Python for which it has wheels; `shared` those that all packages have files for."""
    others = [*others]
    name, minor = package.partition("==")[0], minor_of(python)
    there = f" (it has them for Python {', '.join(others)})" if others else ""
    both = [one for one in others if one in shared]
    newer = [one for one in both or others if version(one) > version(minor)]
    change = f'set python_version = "{newer[0]}"' if newer else "choose a newer version of it"
    if both and not newer:
        change = f'set python_version = "{both[-1]}" or {change}'
    return (
        f"{source}: {package} has no wheel for Python {minor} on Linux{there}: {change}, or let the server build it:"
        f' backend_build_packages = ["{name}"]'
    )


def wrong_python(who: str, specifier: str, python: str) -> str:
    """The problem with a version of Python, "" if it fits."""
    wanted, minor = SpecifierSet(specifier), minor_of(python)
    if wanted.contains(python if python.count(".") > 1 else f"{python}.99", prereleases=True):
        return ""
    fitting = [one for one in MINORS if wanted.contains(f"{one}.99", prereleases=True)]
    newer = [one for one in fitting if version(one) > version(minor)] or fitting[-1:]
    advice = f'set python_version = "{newer[0]}"' if newer else "choose another version of it"
    return f"{who} needs Python {specifier}; the server has {minor}: {advice}"


def version(minor: str) -> tuple[int, ...]:
    return tuple(map(int, minor.split(".")))


def said(text: str) -> str:
    """The cause in uv's message, on one line."""
    text = " ".join(text.split())
    cause = (text.partition("cause: ")[2] or text).partition(" hint: ")[0]
    is_of_wheels = "no usable wheels" in cause or "no wheels with" in cause
    return f"{cause} To let the server build it, name it in backend_build_packages." if is_of_wheels else cause
