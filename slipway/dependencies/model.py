"""Locked dependencies: packages with one version each, and the hashes of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slipway.dependencies.indexes import Index

# The minor version of the oldest glibc that packages still build for, which all supported systems satisfy.
MIN_GLIBC = 28


def minor_of(python: str) -> str:
    """ "3.11" for "3.11.2"."""
    return ".".join(python.split(".")[:2])


def without_password(text: str) -> str:
    """A text with user and password in URLs masked."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


class DependenciesError(Exception):
    """All problems of a project's dependencies; `str()` is what the user reads."""

    def __init__(self, problems: Iterable[str]) -> None:
        # A lock may contain a private index's URL with a password.
        self.problems = list(dict.fromkeys(map(without_password, problems)))
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Host:
    """A server: its Python's version, the minor version of its glibc, and the MiB that are free for an environment."""

    python: str
    glibc: int = MIN_GLIBC
    free_mb: int | None = None


@dataclass(frozen=True)
class File:
    """A package's file on its index. Only the hash is always known: `name` and `url` may be "", `size` (bytes) 0."""

    sha256: str
    name: str = ""
    size: int = 0
    url: str = ""

    @property
    def is_wheel(self) -> bool:
        return self.name.endswith(".whl")


@dataclass(frozen=True)
class Package:
    """`name` is normalized (PEP 503). `marker` is an environment marker, "" for always. `requires_python` is a version
    specifier, "" if the lock has none."""

    name: str
    version: str
    files: tuple[File, ...]
    marker: str = ""
    extras: tuple[str, ...] = ()
    requires_python: str = ""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def line(self) -> str:
        """The package as a line of a requirements file."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted({f.sha256 for f in self.files}))
        return f"{self.name}{extras}=={self.version}{marker}{hashes}\n"


@dataclass(frozen=True)
class Locked:
    """The dependencies of a project. `source` is the file that lists them."""

    source: str
    packages: tuple[Package, ...]
    # Required versions of Python by file, such as ("pyproject.toml", ">=3.12").
    python: tuple[tuple[str, str], ...] = ()
    # Whether the source lists everything by construction, so that dependencies of packages are not resolved.
    is_complete: bool = True
    # The minor version of Python that the source was locked for, "" for any.
    for_python: str = ""
    # Notes about what was ignored.
    notes: tuple[str, ...] = ()
    # The packages that the server builds from source, and their build dependencies.
    built: frozenset[str] = frozenset()
    build_packages: tuple[Package, ...] = ()
    # Where packages are looked for before PyPI.
    indexes: tuple[Index, ...] = ()

    # As requirements files with hashes, normalized.

    @property
    def requirements(self) -> str:
        """The packages that are installed from wheels."""
        return _listed(package for package in self.packages if package.name not in self.built)

    @property
    def built_requirements(self) -> str:
        return _listed(package for package in self.packages if package.name in self.built)

    @property
    def build_requirements(self) -> str:
        return _listed(self.build_packages)


def _listed(packages: Iterable[Package]) -> str:
    return "".join(sorted(package.line for package in packages))
