"""Packages that do not run with newer versions of others, or of Python, which their metadata allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from packaging.specifiers import SpecifierSet

# The package and its versions, the other one and the versions that it runs with. Each was tried: motor imports a name
# that pymongo 4.9 has no more, and passlib tests bcrypt with a password of more than 72 bytes, which bcrypt 5 refuses.
PAIRS = (("motor", "<3.6", "pymongo", "<4.9"), ("passlib", "<=1.7.4", "bcrypt", "<5"))

# The package and its versions, the first Python that they do not run with, and the first version that does. motor
# imports asyncio.coroutine, which Python 3.11 has no more.
PYTHONS = (("motor", "<3.1", "3.11", "3.1"),)


def limits(versions: Mapping[str, str]) -> dict[str, str]:
    """The constraints on the packages of a lock that others of it need, each with the reason. `versions` are the
    lock's by package."""
    return {
        f"{other}{working}": f"{name} {versions[name]} does not run with newer ones"
        for name, affected, other, working in PAIRS
        if other in versions and name in versions and versions[name] in SpecifierSet(affected)
    }


def is_within(versions: Mapping[str, str]) -> bool:
    """Whether the packages of a lock run with each other, as far as is known."""
    wanted = {f"{other}{working}": (other, working) for _, _, other, working in PAIRS}
    return all(versions[other] in SpecifierSet(working) for other, working in map(wanted.__getitem__, limits(versions)))


def notes(versions: Mapping[str, str], python: str) -> Iterator[str]:
    """The packages of a lock that do not run with a version of Python, as far as is known: a project may patch them."""
    for name, affected, first, working in PYTHONS:
        if name in versions and versions[name] in SpecifierSet(affected) and _minor(python) >= _minor(first):
            major, minor = _minor(first)
            yield (
                f"{name} {versions[name]} does not run with Python {'.'.join(map(str, _minor(python)))}: take"
                f' {name} {working} or newer, or set python_version = "{major}.{minor - 1}"'
            )


def _minor(python: str) -> tuple[int, ...]:
    return tuple(map(int, python.split(".")[:2]))
