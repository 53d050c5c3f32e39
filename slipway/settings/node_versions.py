"""Which versions of Node.js a project takes, in the notation of npm and nvm.

https://docs.npmjs.com/cli/configuring-npm/package-json#engines
"""

from __future__ import annotations

import re

# https://nodejs.org/en/about/previous-releases
LTS = {"dubnium": 10, "erbium": 12, "fermium": 14, "gallium": 16, "hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24}
# Of nvm's, which mean a recent one.
ANY = {"", "*", "x", "node", "stable", "latest", "current", "lts/*"}
_ONE = re.compile(r"(>=|<=|>|<|=|\^|~)?v?(\d+|[x*])(?:\.(\d+|[x*]))?(?:\.(\d+|[x*]))?(?:[-+][\w.+-]*)?", re.IGNORECASE)

Version = tuple[int, int, int]


def version_of(text: str) -> Version:
    """Of "v20.11.1". Raises ValueError."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    if not found:
        raise ValueError(text)
    return int(found[1]), int(found[2]), int(found[3])


def is_known(wanted: str) -> bool:
    """Whether the notation is one that `satisfies` reads."""
    try:
        satisfies((0, 0, 0), wanted)
    except ValueError:
        return False
    return True


def satisfies(version: Version, wanted: str) -> bool:
    """Whether a version is one of those that are wanted, such as "^20.19 || >=22". Raises ValueError."""
    return any(_all(version, part.strip()) for part in wanted.split("||"))


def _all(version: Version, part: str) -> bool:
    name = part.lower().removeprefix("lts/") if part.lower() != "lts/*" else "lts/*"
    if name in ANY:
        return True
    if name in LTS:
        return version[0] == LTS[name]
    part = re.sub(r"(\S+)\s+-\s+(\S+)", r">=\1 <=\2", part)
    part = re.sub(r"(>=|<=|>|<|=|\^|~)\s+", r"\1", part)
    # All are looked at: what can't be read is an error wherever it stands.
    return all([_one(version, one) for one in part.replace(",", " ").split()])


def _one(version: Version, text: str) -> bool:
    found = _ONE.fullmatch(text)
    if not found:
        raise ValueError(text)
    given = [int(part) for part in found.groups()[1:] if part and part.isdigit()]
    lowest: Version = (*given, *[0] * (3 - len(given)))  # type: ignore[assignment]
    # Whatever fits what is given: 20.x is from 20.0.0 on, and below 21.0.0.
    above = _next(given)
    match found[1] or "":
        case ">=":
            return version >= lowest
        case ">":
            return version >= above if len(given) < 3 else version > lowest
        case "<":
            return version < lowest
        case "<=":
            return version < above if len(given) < 3 else version <= lowest
        case "^":
            return lowest <= version < _next(given[:1])
        case "~":
            return lowest <= version < _next(given[:2])
        case _:
            return lowest <= version < above


def _next(given: list[int]) -> Version:
    """The first version that no longer begins so; a very high one where nothing is given."""
    if not given:
        return (10**6, 0, 0)
    *before, last = given
    return (*before, last + 1, *[0] * (3 - len(given)))  # type: ignore[return-value]
