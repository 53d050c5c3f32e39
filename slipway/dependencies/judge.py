"""Checks whether locked dependencies can be installed on a server, before any change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag

from slipway.dependencies import explain, lockfile, pylock, uv
from slipway.dependencies.lockfile import COMMAND, Inputs
from slipway.dependencies.model import Host, Locked, Package, minor_of
from slipway.dependencies.target import MINORS, applies, fits, tags

# The server of the services that answer requests.
SERVER = "uvicorn"
# The size of an environment with bytecode relative to its wheels: 3 to 4 for FastAPI, NumPy or boto3.
UNPACKED = 4


def problems(locked: Locked, host: Host) -> Iterator[str]:
    """The problems, a line each, with what to do."""
    python, minor = host.python, minor_of(host.python)
    if locked.for_python and locked.for_python != minor:
        yield (
            f"{locked.source} is for Python {locked.for_python}; the server has {minor}: run `{COMMAND}`, or set"
            f' python_version = "{locked.for_python}"'
        )
        return
    wrong = [explain.wrong_python(who, wanted, python) for who, wanted in locked.python]
    if any(wrong):
        yield from (line for line in wrong if line)
        return
    here = [package for package in locked.packages if applies(package.marker, python)]
    fitting = tags(python, host.glibc)
    for package in here:
        if problem := package.requires_python and explain.wrong_python(
            f"{locked.source}: {package}", package.requires_python, python
        ):
            yield problem
        elif package.name not in locked.built and not _may_fit(package, fitting):
            others = [one for one in MINORS if _may_fit(package, tags(one))]
            shared = [one for one in others if _fits_all(locked, one)]
            yield explain.no_wheel(locked.source, str(package), python, others, shared)
    if SERVER not in {package.name for package in here}:
        yield f"{locked.source}: found no {SERVER}, which runs the backend: add it to the dependencies"
    needed = UNPACKED * sum(_size(package, fitting) for package in here) // 2**20
    if host.free_mb is not None and needed > host.free_mb:
        largest = max(here, key=lambda package: _size(package, fitting))
        yield (
            f"{locked.source}: its packages need about {needed} MiB, found {host.free_mb} MiB free on the server (the"
            f" largest is {largest}, {_size(largest, fitting) // 2**20} MiB packed)"
        )


def examined(locked: Locked, host: Host) -> tuple[Locked, list[str]]:
    """A lock that has only hashes, completed with the index's file names, and its problems; none if the index can't be
    reached."""
    unknown = [package for package in locked.packages if not all(file.name for file in package.files)]
    unknown = [package for package in unknown if applies(package.marker, host.python)]
    if not unknown or any(True for _ in problems(locked, replace(host, free_mb=None))):
        return locked, []
    lines = tuple(f"{package.name}{_extras(package)}=={package.version}" for package in unknown)
    wanted = Inputs(locked.source, lines, built=locked.built, indexes=locked.indexes)
    minor = minor_of(host.python)
    try:
        text = lockfile.compiled(wanted, minor, no_deps=locked.is_complete)
    except uv.UvFailed as error:
        if not uv.is_unsatisfiable(str(error)):
            return replace(locked, notes=(*locked.notes, f"{locked.source} was not checked: PyPI can't be reached")), []
        return locked, [*explain.reasons(wanted, minor)] or [f"{locked.source}: {explain.said(str(error))}"]
    found = {package.name: package for package in _packages(text, locked)}
    wrong = []
    if missing := sorted(found.keys() - {package.name for package in locked.packages}):
        wrong.append(f"{locked.source}: found no {', '.join(missing)}, which its packages depend on: lock it again")
    for package in unknown:
        its = {file.sha256 for file in package.files}
        files = found[package.name].files
        if not any(file.sha256 in its for file in files):
            wrong.append(
                f"{locked.source}: the hashes of {package} have none of {files[0].name}, which Linux needs: it was"
                " locked for another platform, or changed on the index; lock it again"
            )
    packages = tuple(_known(package, found.get(package.name)) for package in locked.packages)
    return replace(locked, packages=packages), wrong


def _packages(text: str, locked: Locked) -> tuple[Package, ...]:
    return pylock.packages(pylock.load(text, locked.source), locked.source, locked.indexes)


def _known(package: Package, found: Package | None) -> Package:
    """A package with the index's data about the files whose hashes it has."""
    if not found or all(file.name for file in package.files):
        return package
    names = {file.sha256: file for file in found.files}
    return replace(package, files=tuple(names.get(file.sha256, file) for file in package.files))


def _extras(package: Package) -> str:
    return f"[{','.join(package.extras)}]" if package.extras else ""


def _fits_all(locked: Locked, minor: str) -> bool:
    """Whether all packages may be installed for a minor version of Python."""
    here = [package for package in locked.packages if applies(package.marker, minor)]
    wanted = [*(specifier for _, specifier in locked.python), *(package.requires_python for package in here)]
    return all(SpecifierSet(one).contains(f"{minor}.99", prereleases=True) for one in wanted) and all(
        package.name in locked.built or _may_fit(package, tags(minor)) for package in here
    )


def _may_fit(package: Package, fitting: frozenset[Tag]) -> bool:
    return any(not file.name or fits(file, fitting) for file in package.files)


def _size(package: Package, fitting: frozenset[Tag]) -> int:
    return max((file.size for file in package.files if fits(file, fitting)), default=0)
