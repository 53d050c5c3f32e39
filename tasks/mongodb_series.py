"""The series of MongoDB that is installed, while it is another one than mongodb_version: from the apply that sets a new
series to `slipway upgrade`, which needs the package of before to go back to. Until then the repository of the installed
series stays beside the new one, and apt stays in the installed series."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra import host

from slipway.facts.base import Output
from slipway.settings.model import Settings
from slipway.settings.mongodb import KEYS
from slipway.systems import System
from slipway.tasks.mongodb_packages import OFFICIAL_REPOSITORY

SOURCES = "/etc/apt/sources.list.d/mongodb.sources"
KEYRING_BEFORE = "/usr/share/keyrings/mongodb-server-before.asc"
QUESTION = f"dpkg-query -W -f '${{db:Status-Status}} ${{Version}}\\n' mongodb-org-server; cat {SOURCES}"


@dataclass(frozen=True)
class Before:
    """The installed series, and whether its repository is kept."""

    series: str
    is_kept: bool
    keyring: str = KEYRING_BEFORE


def before(settings: Settings, system: System | None) -> Before | None:
    """The installed series if mongodb_version is another one."""
    status, _, sources = host.get_fact(Output, command=QUESTION).partition("\n")
    state, _, version = status.partition(" ")
    series = ".".join(version.split(".")[:2]) if state == "installed" else ""
    if system is None or series in ("", settings.mongodb_version):
        return None
    # A suite that does not exist would keep apt from all packages.
    is_official = settings.mongodb_apt_url.startswith(OFFICIAL_REPOSITORY)
    is_there = is_official and series in system.mongodb_series and series in KEYS
    return Before(series, is_there or f"Suites: {system.codename}/mongodb-org/{series}" in sources.splitlines())


def of_series(settings: Settings, series: str) -> Settings | None:
    """The settings with the key of another series; None for a repository with a key of its own."""
    if settings.mongodb_key_fingerprint != KEYS.get(settings.mongodb_version) or series not in KEYS:
        return None
    url = settings.mongodb_key_url.replace(settings.mongodb_version, series)
    return settings.model_copy(update={"mongodb_key_url": url, "mongodb_key_fingerprint": KEYS[series]})
