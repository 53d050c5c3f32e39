"""Which MongoDB packages a host can have: those of its own system, or of an older release of its distribution."""

from __future__ import annotations

import re

from pyinfra import host

from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.settings.model import Settings
from slipway.systems import System, older, system_of
from slipway.tasks.packages import is_new

OFFICIAL_REPOSITORY = "https://repo.mongodb.org"
# Linux versions that MongoDB 8.0 and later do not start on (from, before), because of their allocator.
# https://www.mongodb.com/docs/v8.3/administration/production-notes/#platform-support-notes
BROKEN_KERNELS = ((6, 19), (7, 0, 14))
FIRST_BROKEN_SERIES = 8
SERVER, PROGRAM = "mongodb-org-server", "/usr/bin/mongod"
OWNER = f"dpkg-query -S {PROGRAM}"


def packaged_for(machine: dict[str, str], settings: Settings) -> System | None:
    """The system whose packages the host gets; None if the host's own or the configured one is unknown."""
    system = system_of(machine)
    if system is None or not settings.mongodb_apt_suite:
        return system
    return next((one for one in [system, *older(system)] if one.codename == settings.mongodb_apt_suite), None)


def problems(settings: Settings) -> list[str]:
    """What prevents MongoDB on this host. The repository is queried for a new host, and if the table of systems lacks
    the series, as the repository may have it by now."""
    machine = host.get_fact(Machine)
    if found := [*(owner_problems() if is_new() else ()), *host_problems(machine, settings)]:
        return found
    unknown = unknown_series(machine, settings)
    if not unknown and not is_new():
        return []
    return repository_problems(machine, settings, unknown)


def series_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    """The same by the table of systems, without querying the repository."""
    return host_problems(machine, settings) or unknown_series(machine, settings)


def owner_problems() -> list[str]:
    """Another package's mongod: that package is in conflict with MongoDB's own, and may serve the site now."""
    lines = [line for line in host.get_fact(Output, command=OWNER).splitlines() if not line.startswith("diversion ")]
    owners = sorted({name.strip() for line in lines for name in line.partition(": /")[0].split(",")})
    if not owners or SERVER in owners:
        return []
    return [
        f"mongod: found {PROGRAM} of the package {', '.join(owners)}, need {SERVER}, which is in conflict with it"
        " (move the data by mongodump and mongorestore, or give the role db to another host)"
    ]


def host_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    series, system, suite = settings.mongodb_version, system_of(machine), settings.mongodb_apt_suite
    found = []
    # https://www.mongodb.com/docs/manual/administration/production-notes/ : 5.0 and later need AVX
    if machine.get("avx") != "yes":
        found.append(f"processor: found no AVX, which MongoDB {series} needs (ask the provider for a newer processor)")
    kernel = tuple(map(int, re.findall(r"\d+", machine.get("kernel", ""))[:3]))
    first, fixed = BROKEN_KERNELS
    if int(series.split(".")[0]) >= FIRST_BROKEN_SERIES and first <= kernel < fixed:
        found.append(
            f"mongodb_version: found {series!r} on Linux {machine['kernel']}; MongoDB 8.0 and later crash on 6.19 to"
            " 7.0.13, need another kernel (the distribution's own) or an earlier series"
        )
    if system and suite and packaged_for(machine, settings) is None:
        need = ", ".join(repr(one.codename) for one in [system, *older(system)] if one.mongodb_series)
        found.append(f"mongodb_apt_suite: found {suite!r} on {system.title}, need {need}, or no such setting")
    return found


def unknown_series(machine: dict[str, str], settings: Settings) -> list[str]:
    """A problem if the official repository is not known to have the series for the system."""
    system, series = packaged_for(machine, settings), settings.mongodb_version
    if not settings.mongodb_apt_url.startswith(OFFICIAL_REPOSITORY) or not system or series in system.mongodb_series:
        return []
    there = [one.codename for one in older(system) if series in one.mongodb_series]
    return [_without_series(machine, settings, ", ".join(system.mongodb_series) or "nothing", there)]


def repository_problems(machine: dict[str, str], settings: Settings, unknown: list[str]) -> list[str]:
    """The same by a query of the configured repository; `unknown` if it does not answer."""
    system = packaged_for(machine, settings)
    if system is None:
        return []
    found = _asked(settings, [system, *older(system)])
    if system.codename not in found:
        return unknown
    if found[system.codename]:
        return []
    there = [codename for codename, is_there in found.items() if is_there]
    return [_without_series(machine, settings, f"nothing of it at {settings.mongodb_apt_url}", there)]


def _asked(settings: Settings, systems: list[System]) -> dict[str, bool]:
    """Whether the repository has the series, by codename of the systems that it answered for."""
    # apt's own downloader: available before curl, and uses apt's proxy.
    fetch = "/usr/lib/apt/apt-helper -o Acquire::Retries=0 download-file"
    urls = " ".join(
        f"{settings.mongodb_apt_url}/{one.os}/dists/{one.codename}/mongodb-org/{settings.mongodb_version}/Release"
        for one in systems
    )
    script = (
        f"cd $(mktemp -d) && for url in {urls}; do name=${{url#*/dists/}}; said=$({fetch} $url Release 2>&1)"
        " && echo ${name%%/*}=yes || case $said in *' 404 '*) echo ${name%%/*}=no ;; esac; done; rm -r $PWD"
    )
    answers = host.get_fact(Output, command=script).splitlines()
    return {name: answer == "yes" for name, _, answer in (line.partition("=") for line in answers)}


def _without_series(machine: dict[str, str], settings: Settings, has: str, there: list[str]) -> str:
    system, own = packaged_for(machine, settings), system_of(machine)
    assert system
    assert own
    ways = ["a series that is there"] if system.mongodb_series else []
    if there:
        title = next(one.title for one in older(system) if one.codename == there[0])
        ways.append(
            f'mongodb_apt_suite = "{there[0]}" ({title}\'s packages: they run on {own.title}, but MongoDB does not'
            " support that)"
        )
    ways.append("the role db on a host with another system")
    series = settings.mongodb_version
    return f"mongodb_version: found {series!r}; for {system.title} MongoDB has {has}, need {' or '.join(ways)}"
