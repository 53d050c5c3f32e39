"""Whether this host can become the server at all. Everything is asked before anything changes; all failures at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from slipway.engine.notes import note
from slipway.engine.ssh import peer_address
from slipway.facts.apt import SYSTEMS_OWN, AptSources
from slipway.facts.base import Output
from slipway.facts.files import FileState
from slipway.facts.machine import Listeners, Machine, is_container
from slipway.ops.packages import source_problems
from slipway.settings.model import Settings
from slipway.systems import SYSTEMS, system_of
from slipway.tasks.adoption import found_by_hand

ARCHITECTURES = ("amd64",)
OFFICIAL_REPOSITORY = "https://repo.mongodb.org"
NO_SERIES_HINT = "a series that is there, or the role db on a host with another system"
NO_SERIES = f"nothing, need {NO_SERIES_HINT}"
MIN_MEMORY_MB = 900
# MiB that a host which runs must have free on each file system, for an update. And a new one, by folder, as they may be
# file systems of their own: that, and what packages, MongoDB's first files and a release took (390, 390, 180, 65 below
# /usr, /var/lib, /var/cache, /var/www: `du -sm` of a lab host's changes), with some room.
MIN_DISK_MB_NEW = {"/": 300, "/usr": 700, "/var/lib": 800, "/var/cache": 500, "/var/www": 400}
MIN_DISK_MB = 300
# ACME servers and TLS clients reject a clock that is further off.
MAX_CLOCK_SECONDS = 120


def preflight(settings: Settings) -> None:
    """Raise one error with everything that is in the way, each with what was found, what is needed and what to do."""
    machine = host.get_fact(Machine)
    is_new = not host.get_fact(FileState, path="/etc/apt/apt.conf.d/00-slipway")
    problems = [
        *system_problems(machine),
        *memory_problems(machine),
        *disk_problems(machine, is_new, settings.swap_mb),
        *clock_problems(machine, time.time()),
    ]
    series = mongodb_problems(machine, settings) if "db" in host.groups else []
    if is_new:
        # Later a repository that is down is no reason not to look at a server that has all it needs.
        unreached = network_problems(settings, host.groups)
        problems += unreached
        # Without a network all of them fail.
        sources = host.get_fact(AptSources, seconds=settings.limits.reach)
        problems += source_problems(replace(sources, failing={}) if unreached else sources)
        if "db" in host.groups and not series:
            series = repository_problems(machine, settings)
    problems += series
    problems += port_problems(host.get_fact(Listeners), settings, host.groups)
    if "web" in host.groups:
        problems += domain_problems(machine, settings)
    system = system_of(machine)
    if system and not system.proven:
        note(f"{system.title} is not tested by Slipway")
    if by_hand := found_by_hand(settings):
        note(f"found an existing server; its data and its site are adopted: {', '.join(by_hand)}")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise PyinfraError(f"{host.name} can't become the server yet; nothing was changed.\n{lines}")


def system_problems(machine: dict[str, str]) -> list[str]:
    problems = []
    if machine.get("uid") != "0":
        problems.append(
            "rights: found a user that is not root, need root or sudo"
            ' (set "_sudo": True for the host in inventory.py, or ssh_user to root)'
        )
    if machine.get("init") != "systemd":
        problems.append(f"init: found {machine.get('init')!r} as process 1, need systemd")
    if machine.get("arch") not in ARCHITECTURES:
        problems.append(
            f"architecture: found {machine.get('arch')}, need {' or '.join(ARCHITECTURES)}"
            " (MongoDB has no Debian package for another)"
        )
    if system_of(machine) is None:
        known = ", ".join(system.title for system in SYSTEMS.values())
        problems.append(
            f"operating system: found {machine.get('os')} {machine.get('release')}, need one of: {known}"
            " (reinstall the server)"
        )
    return problems


def memory_problems(machine: dict[str, str]) -> list[str]:
    found = int(machine.get("memory_mb") or 0)
    if found < MIN_MEMORY_MB:
        return [f"memory: found {found} MiB, need {MIN_MEMORY_MB} MiB (choose a larger server)"]
    return []


def disk_problems(machine: dict[str, str], is_new: bool, swap_mb: int) -> list[str]:
    """File systems that are too full; folders on the same one add up, and a new host's swap file is on /."""
    free: dict[str, int] = {}
    needed: dict[str, int] = {}
    for folder, least in MIN_DISK_MB_NEW.items():
        mount, megabytes = machine[f"disk:{folder}"].split()
        free[mount] = int(megabytes)
        needed[mount] = needed.get(mount, 0) + least
    if is_new and not is_container(machine):
        needed["/"] += swap_mb
    least_now = {mount: needed[mount] if is_new else MIN_DISK_MB for mount in free}
    return [
        f"free disk space on {mount}: found {free[mount]} MiB, need {least_now[mount]} MiB"
        " (free some, or choose a larger server)"
        for mount in sorted(free)
        if free[mount] < least_now[mount]
    ]


def clock_problems(machine: dict[str, str], now: float) -> list[str]:
    off = int(machine.get("clock") or 0) - now
    if abs(off) > MAX_CLOCK_SECONDS:
        return [
            f"clock: found it {off:+.0f} s off this machine's, need less than {MAX_CLOCK_SECONDS} s (set it: date -s)"
        ]
    return []


def mongodb_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    series = settings.mongodb_version
    problems = []
    # https://www.mongodb.com/docs/manual/administration/production-notes/ : 5.0 and later need AVX
    if machine.get("avx") != "yes":
        problems.append(
            f"processor: found no AVX, which MongoDB {series} needs (ask the provider for a newer processor)"
        )
    system = system_of(machine)
    if settings.mongodb_apt_url.startswith(OFFICIAL_REPOSITORY) and system and series not in system.mongodb_series:
        there = ", ".join(system.mongodb_series) or NO_SERIES
        problems.append(f"mongodb_version: found {series!r}; for {system.title} MongoDB has {there}")
    return problems


def repository_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    """Whether the repository that is set has the series for this system: what it has changes without our knowing."""
    system, series = system_of(machine), settings.mongodb_version
    if system is None:
        return []
    url = f"{settings.mongodb_apt_url}/{system.os}/dists/{system.codename}/mongodb-org/{series}/Release"
    # apt's own downloader: it is there before curl is, and knows apt's proxy.
    script = f"cd $(mktemp -d) && /usr/lib/apt/apt-helper download-file {url} Release 2>&1; rm -r $PWD"
    if " 404 " not in host.get_fact(Output, command=script):
        return []
    return [f"mongodb_version: found nothing of {series!r} for {system.title} at {url}, need {NO_SERIES_HINT}"]


def network_problems(settings: Settings, groups: list[str]) -> list[str]:
    """Repositories that the host can't connect to: the system's own, and those to come. Behind a proxy of apt's own,
    that is apt's to find out."""
    mongodb = settings.mongodb_apt_url if "db" in groups else ""
    script = (
        "apt-config dump | grep -q 'Acquire::https*::Proxy \"[^\"]' ||"
        # Without what is in the lists, which a new host does not have.
        " for uri in $(apt-get indextargets --no-release-info --format '$(SOURCESENTRY) $(SITE)/'"
        f" | grep -E '^({'|'.join(SYSTEMS_OWN)}):' | grep -o 'https*://[^/]*/' | sort -u) {mongodb}; do"
        " site=${uri#*://}; site=${site%%/*}; port=80; case $uri in https:*) port=443;; esac;"
        " case $site in *:*) port=${site##*:}; site=${site%:*};; esac;"
        f' timeout {settings.limits.reach} bash -c "exec 3<>/dev/tcp/$site/$port" || echo $site:$port; done'
    )
    unreached = sorted(set(host.get_fact(Output, command=script).split()))
    return [
        f"network: found no connection to {site} within {settings.limits.reach} s, need it to install packages"
        " (check its DNS and routes)"
        for site in unreached
    ]


def port_problems(listeners: dict[int, str], settings: Settings, groups: list[str]) -> list[str]:
    """Ports that another program holds. Our own programs may hold theirs: this is not the first run then."""
    wanted: dict[int, str] = {}
    if "web" in groups:
        wanted |= {80: "nginx", 443: "nginx"}
    if "db" in groups:
        wanted[settings.mongodb_port] = "mongod"
    if "app" in groups:
        wanted |= {
            int(site.backend_listen.rpartition(":")[2]): "systemd" for site in settings.all_sites if site.backend_is_tcp
        }
    problems = []
    for port, ours in sorted(wanted.items()):
        holder = listeners.get(port, ours)
        # A listening socket that systemd handed over names whichever of its holders ss prints first.
        if holder not in (ours, "") and not (ours == "systemd" and holder in ("uvicorn", "python3", "python")):
            problems.append(f"port {port}: found {holder!r} listening, need it for {ours} (stop or move {holder})")
    return problems


def domain_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    """Names that don't lead to this host, or not by every address: no certificate could be issued for them."""
    own = set(machine.get("addresses", "").split())
    here = " or ".join(sorted(own))
    problems = []
    for setting, domain in domains_by_setting(settings):
        found = set(host.get_fact(Output, command=addresses_command(domain)).split())
        # Behind a provider's NAT the public address is not on the host: it is the one that we reach it by.
        elsewhere = sorted(found - own - {peer_address(host)})
        if not found:
            problems.append(f"{setting}: found no address for {domain}, need {here} (set it in the DNS)")
        elif elsewhere:
            problems.append(
                f"{setting}: found {domain} at {', '.join(elsewhere)}, need this host's {here}"
                " (change the DNS, or the setting)"
            )
    return problems


def domains_by_setting(settings: Settings) -> Iterator[tuple[str, str]]:
    for number, site in enumerate(settings.all_sites):
        at = f"sites[{number - 1}]: " if number else ""
        yield f"{at}site_domain", site.site_domain
        yield from ((f"{at}site_aliases", domain) for domain in site.site_aliases)
        yield from ((f"{at}services", service.host) for service in site.services if service.host)


def addresses_command(domain: str) -> str:
    """A command that prints the addresses of a name as the host sees it, without the loopback one that providers write
    into /etc/hosts for a server's own name: where that is all, the DNS alone is asked."""
    theirs = "awk '$1 !~ /^127[.]|^::1$/ && !seen[$1]++ {print $1; found = 1} END {exit !found}'"
    return f"getent ahosts {domain} | {theirs} || getent -s hosts:dns ahosts {domain} | {theirs}"
