"""Packages that the server builds from source: their build dependencies are locked too, in a file next to the source.

They are read from the source distribution (PEP 518), without running its code.
"""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from slipway.dependencies import explain, pylock
from slipway.dependencies.lockfile import COMMAND, Inputs
from slipway.dependencies.model import DependenciesError, File, Locked, Package
from slipway.dependencies.requirements import text_of

NAME = "pylock.slipway-build.toml"
# The default without a [build-system]. https://peps.python.org/pep-0517/#source-trees
DEFAULT = ("setuptools>=40.8.0", "wheel")
INDEX = "https://pypi.org/simple"
# https://packaging.python.org/en/latest/specifications/simple-repository-api/
AS_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
MAX_BYTES, SECONDS = 500 * 2**20, 60


def load(folder: Path, packages: Iterable[Package]) -> tuple[Package, ...]:
    """The locked build dependencies. Raises DependenciesError if there is no lock, or one for other packages."""
    file, wanted = folder / NAME, _digest(packages)
    if not file.is_file():
        raise DependenciesError(
            [f"found no {NAME}, expected a lock of build dependencies: run `{COMMAND}`, and commit it"]
        )
    data = pylock.load(text_of(file), NAME)
    if data.get("tool", {}).get("slipway", {}).get("inputs") != wanted:
        raise DependenciesError([f"{NAME} is for other packages than those to build: run `{COMMAND}`, and commit it"])
    return pylock.packages(data, NAME)


def lock(folder: Path, locked: Locked, python: str, upgrade: bool = False) -> str:
    """The text of a lock of the build dependencies. Raises DependenciesError."""
    packages = [package for package in locked.packages if package.name in locked.built]
    needed = sorted({line for package in packages for line in build_requirements(package)})
    names = ", ".join(sorted(str(package) for package in packages))
    inputs = Inputs(f"the sources of {names}", tuple(needed))
    text = explain.lock(folder, inputs, python, upgrade, name=NAME)
    return text.replace(f'inputs = "{inputs.digest}"', f'inputs = "{_digest(packages)}"')


def _digest(packages: Iterable[Package]) -> str:
    names = sorted([package.name, package.version] for package in packages)
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def build_requirements(package: Package) -> list[str]:
    """The build requirements of a source distribution. Raises DependenciesError."""
    import tomllib  # no plan needs it

    file = _source(package)
    data = _fetched(file.url, package)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DependenciesError([f"{package}: {file.url} has another hash than the lock: lock it again"])
    try:
        text = _pyproject(file.name, data)
        system = tomllib.loads(text).get("build-system", {})
    except (tarfile.TarError, zipfile.BadZipFile, ValueError) as error:
        raise DependenciesError([f"{package}: {file.name} can't be read: {error}"]) from error
    return [*system.get("requires", DEFAULT)]


def _source(package: Package) -> File:
    """The source distribution among a package's files, looked up on PyPI if only hashes are known."""
    known = [file for file in package.files if file.url and not file.is_wheel]
    if not known:
        page = json.loads(_fetched(f"{INDEX}/{package.name}/", package))
        hashes = {file.sha256 for file in package.files}
        known = [
            File(its["hashes"].get("sha256", ""), its["filename"], its.get("size", 0), its["url"])
            for its in page["files"]
            if its["hashes"].get("sha256") in hashes and not its["filename"].endswith(".whl")
        ]
    if not known:
        raise DependenciesError(
            [
                f"{package}: its lock has no source distribution, expected one to build: remove it from"
                " backend_build_packages, or lock it again"
            ]
        )
    return known[0]


def _fetched(url: str, package: Package) -> bytes:
    """The content of a URL. Raises DependenciesError."""
    import urllib.request  # no plan needs it

    request = urllib.request.Request(url, headers=AS_JSON if url.startswith(INDEX) else {})  # noqa: S310  of a lock
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=_trust()) as answer:  # noqa: S310
            data: bytes = answer.read(MAX_BYTES)
    except OSError as error:
        raise DependenciesError([f"{package}: {url} can't be fetched: {error}"]) from error
    return data


def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _pyproject(name: str, data: bytes) -> str:
    """The pyproject.toml at the top of a source distribution, "" if it has none."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = [one for one in archive.namelist() if one.count("/") == 1 and one.endswith("/pyproject.toml")]
            return archive.read(found[0]).decode() if found else ""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if member.isfile() and path.count("/") == 1 and path.endswith("/pyproject.toml"):
                opened = archive.extractfile(member)
                return opened.read().decode() if opened else ""
    return ""
