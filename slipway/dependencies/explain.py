"""Why dependencies can't be resolved for a Python: all reasons at once, where uv stops at the first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from packaging.specifiers import SpecifierSet

from slipway.dependencies import lockfile, uv
from slipway.dependencies.lockfile import Inputs
from slipway.dependencies.model import DependenciesError
from slipway.dependencies.target import MINORS, minor_of


def lock(folder: Path, wanted: Inputs, python: str, upgrade: bool = False) -> str:
    """The text of a lock for a minor version of Python. Raises DependenciesError with all that stand in its way."""
    if wanted.requires_python and (problem := wrong_python(wanted.source, wanted.requires_python, python)):
        raise DependenciesError([problem])
    try:
        return lockfile.make(folder, wanted, python, upgrade)
    except uv.UvFailed as error:
        raise DependenciesError([*reasons(wanted, python)] or [f"{wanted.source}: {said(str(error))}"]) from error


def reasons(wanted: Inputs, python: str) -> Iterator[str]:
    """A line for each requirement that can't be installed whatever the others are."""
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda line: _reason(replace(wanted, requirements=(line,)), python), wanted.requirements)
        yield from (reason for reason in found if reason)


def _failure(alone: Inputs, python: str) -> str:
    try:
        # Without those that it needs in turn, which are many: a list of all that is installed names them too.
        lockfile.make(Path("/nonexistent"), alone, python, no_deps=True)
    except uv.UvFailed as error:
        return str(error)
    return ""


def _reason(alone: Inputs, python: str) -> str:
    text = _failure(alone, python)
    if not uv.is_unsatisfiable(text):
        return ""
    source, package = alone.source, alone.requirements[0].partition(" ;")[0]
    if match := re.search(r"(\S+) depends on Python([<>=!~]\S*?),? (?:and|we)", text):
        return wrong_python(f"{source}: {match[1]}", match[2], python) or f"{source}: {package}: {said(text)}"
    if match := re.search(r"Because (\S+) has no (?:usable wheels|wheels with a matching .*? tag)", text):
        if platforms := re.search(r"following platforms?: (.*)", text):
            there = platforms[1].replace("`", "")
            return (
                f"{source}: {match[1]} has files for {there} alone: add a marker as"
                f' {match[1]} ; sys_platform == "win32", or remove it'
            )
        others = [minor for minor in MINORS if minor != python and not _failure(alone, minor)]
        return no_wheel(source, match[1], python, others)
    if "was not found in the package registry" in text:
        return f"{source}: {package}: PyPI has no such package; correct the name, or remove it"
    if "there is no version" in text or "no versions of" in text:
        return f"{source}: {package}: PyPI has no such version"
    return f"{source}: {package}: {said(text)}"


def no_wheel(source: str, package: str, python: str, others: Iterable[str]) -> str:
    """`others` are the versions of Python that it has wheels for."""
    others = [*others]
    name, minor = package.partition("==")[0], minor_of(python)
    there = f" (it has them for Python {', '.join(others)})" if others else ""
    newer = [one for one in others if version(one) > version(minor)]
    change = f'set python_version = "{newer[0]}"' if newer else "choose a newer version of it"
    return (
        f"{source}: {package} has no wheel for Python {minor} on Linux{there}: {change}, or let the server build it:"
        f' backend_build_packages = ["{name}"]'
    )


def wrong_python(who: str, specifier: str, python: str) -> str:
    """What is wrong with a version of Python, "" where nothing is."""
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
    """The cause in uv's words, on one line."""
    cause = text.partition("cause:")[2] or text
    return " ".join(cause.partition("\nhint:")[0].split())
