"""Packages that the server builds from source: their build dependencies are locked too, in a file next to the source.

They are read from the source distribution (PEP 518), without running its code.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import ssl
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from slipway.dependencies import explain, indexes, pylock
from slipway.dependencies.indexes import Index
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


def load(folder: Path, packages: Iterable[Package], others: Sequence[Index] = ()) -> tuple[Package, ...]:
    """The locked build dependencies; `others` are indexes beside PyPI. Raises DependenciesError if there is no lock, or
    one for other packages."""
    file, wanted = folder / NAME, _digest(packages)
    if not file.is_file():
        raise DependenciesError(
            [f"found no {NAME}, expected a lock of build dependencies: run `{COMMAND}`, and commit it"]
        )
    data = pylock.load(text_of(file), NAME)
    if data.get("tool", {}).get("slipway", {}).get("inputs") != wanted:
        raise DependenciesError([f"{NAME} is for other packages than those to build: run `{COMMAND}`, and commit it"])
    return pylock.packages(data, NAME, others)


def lock(folder: Path, locked: Locked, python: str, upgrade: bool = False) -> str:
    """The text of a lock of the build dependencies. Raises DependenciesError."""
    packages = [package for package in locked.packages if package.name in locked.built]
    needed = sorted({line for package in packages for line in build_requirements(package, locked.indexes)})
    names = ", ".join(sorted(str(package) for package in packages))
    inputs = Inputs(f"the sources of {names}", tuple(needed), indexes=locked.indexes)
    text = explain.lock(folder, inputs, python, upgrade, name=NAME)
    return text.replace(f'inputs = "{inputs.digest}"', f'inputs = "{_digest(packages)}"')


def _digest(packages: Iterable[Package]) -> str:
    names = sorted([package.name, package.version] for package in packages)
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def sources(locked: Locked) -> list[tuple[Package, File]]:
    """The source distributions of the packages to build, with their URLs. Raises DependenciesError."""
    built = sorted((one for one in locked.packages if one.name in locked.built), key=str)
    return [(package, _source(package, locked.indexes)) for package in built]


def build_requirements(package: Package, others: Sequence[Index] = ()) -> list[str]:
    """The build requirements of a source distribution. Raises DependenciesError."""
    import tomllib  # no plan needs it

    file = _source(package, others)
    data = _fetched(file.url, package, others)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DependenciesError([f"{package}: {file.url} has another hash than the lock: lock it again"])
    try:
        text = _pyproject(file.name, data)
        system = tomllib.loads(text).get("build-system", {})
    except (tarfile.TarError, zipfile.BadZipFile, ValueError) as error:
        raise DependenciesError([f"{package}: {file.name} can't be read: {error}"]) from error
    return [*system.get("requires", DEFAULT)]


def _source(package: Package, others: Sequence[Index]) -> File:
    """The source distribution among a package's files, looked up on the indexes if only hashes are known."""
    known = [file for file in package.files if file.url and not file.is_wheel]
    hashes = {file.sha256 for file in package.files}
    for url in () if known else (*(one.url for one in others), INDEX):
        page = f"{url.rstrip('/')}/{package.name}/"
        try:
            listed = _listed(_fetched(page, package, others).decode(errors="replace"), page)
        except DependenciesError:
            # An index need not have it; that of the last one counts.
            if url == INDEX:
                raise
            continue
        known = [one for one in listed if one.sha256 in hashes and not one.is_wheel]
        if known:
            break
    if not known:
        raise DependenciesError(
            [
                f"{package}: its lock has no source distribution, expected one to build: remove it from"
                " backend_build_packages, or lock it again"
            ]
        )
    return known[0]


def _listed(text: str, page: str) -> list[File]:
    """The files that the page of a package lists, as JSON or, as most indexes other than PyPI have it, as HTML."""
    try:
        files = json.loads(text)["files"]
    except (ValueError, KeyError, TypeError):
        links = re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', text)
        urls = [(urljoin(page, html.unescape(link)), digest) for link, digest in links]
        return [File(digest, unquote(urlsplit(url).path.rpartition("/")[2]), 0, url) for url, digest in urls]
    return [
        File(its["hashes"].get("sha256", ""), its["filename"], its.get("size", 0), urljoin(page, its["url"]))
        for its in files
    ]


def _fetched(url: str, package: Package, others: Sequence[Index] = ()) -> bytes:
    """The content of a URL. Raises DependenciesError."""
    import urllib.request  # no plan needs it

    request = urllib.request.Request(url, headers=AS_JSON if url.endswith("/") else {})  # noqa: S310  of a lock
    if index := indexes.of_url(url, others):
        login = dict(index.login)
        user, password = (login.get(name, "") for name in indexes.login_names(index.name))
        if user or password:
            word = base64.b64encode(f"{user}:{password}".encode()).decode()
            # Not for the host that a redirect leads to.
            request.add_unredirected_header("Authorization", f"Basic {word}")
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
