"""Package indexes beside PyPI, which a setting names, and how uv logs in to them: by its environment alone.

https://docs.astral.sh/uv/concepts/indexes/#providing-credentials-directly
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

OFFICIAL = re.compile(r"https://pypi\.org/simple/?|https://pypi\.python\.org/simple/?")
# uv's, each with the name of the index in it.
LOGIN = ("UV_INDEX_{}_USERNAME", "UV_INDEX_{}_PASSWORD")


@dataclass(frozen=True)
class Index:
    """`login` are the values of `login_names` that are given, by name."""

    name: str
    url: str
    login: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def login_names(name: str) -> list[str]:
    """The names of the secrets with the login to an index, which are uv's variables."""
    return [pattern.format(re.sub(r"[^A-Za-z0-9]", "_", name).upper()) for pattern in LOGIN]


def bare(url: str) -> str:
    """The URL of an index without a login, however it ends."""
    return re.sub(r"(?<=://)[^/\s]*@", "", url).rstrip("/")


def is_known(url: str, indexes: Iterable[Index]) -> bool:
    return bool(OFFICIAL.fullmatch(bare(url))) or bare(url) in {bare(one.url) for one in indexes}


def of_url(url: str, indexes: Iterable[Index]) -> Index | None:
    """The index that a file or page is of, by its host."""
    host = urlsplit(url)[:2]
    return next((one for one in indexes if urlsplit(bare(one.url))[:2] == host), None)


def unknown(url: str, package: str = "") -> str:
    """That an index, which a package is from, is none of the setting, and what to do."""
    name, where = name_of(url), f"{package} from " if package else ""
    user, password = login_names(name)
    return (
        f"found {where}the package index {bare(url)}, expected PyPI or one of python_indexes: set"
        f' python_indexes = {{"{name}": "{bare(url)}"}}, with its login as the secrets {user} and {password}'
    )


def name_of(url: str) -> str:
    """A name for an index: "example" of https://pypi.example.org/simple."""
    labels = re.sub(r"[^a-z0-9.-]", "", bare(url).partition("://")[2].partition("/")[0].partition(":")[0].lower())
    parts = labels.split(".")
    name = parts[-2] if len(parts) > 1 and not parts[-1].isdecimal() else parts[0]
    return name if re.match(r"[a-z]", name) else "private"


def in_environment(indexes: Iterable[Index]) -> str:
    """What uv's variable UV_INDEX has: they are asked before PyPI, in this order."""
    return " ".join(f"{one.name}={one.url}" for one in indexes)


def variables(indexes: Iterable[Index]) -> dict[str, str]:
    """The environment variables by which uv asks indexes."""
    its = [*indexes]
    return {"UV_INDEX": in_environment(its), **{key: value for one in its for key, value in one.login}} if its else {}
