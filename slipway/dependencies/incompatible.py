"""Packages that do not run with newer versions of others, which their metadata allow."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.specifiers import SpecifierSet

# The package and its versions, the other one and the versions that it runs with. Each was tried: motor imports a name
# that pymongo 4.9 has no more, and passlib tests bcrypt with a password of more than 72 bytes, which bcrypt 5 refuses.
PAIRS = (("motor", "<3.6", "pymongo", "<4.9"), ("passlib", "<=1.7.4", "bcrypt", "<5"))


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
