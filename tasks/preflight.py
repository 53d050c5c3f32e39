"""Checks whether this host can be provisioned, before any change. All problems are reported at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from slipway.adoption import in_the_way
from slipway.adoption.jobs import other_zone
from slipway.engine.components import Component
from slipway.engine.notes import note
from slipway.facts.apt import LIST_TARGETS, SYSTEMS_OWN, AptSources
from slipway.facts.base import Output
from slipway.facts.machine import Listeners, Machine, is_container
from slipway.ops.packages import source_problems
from slipway.settings.doc import literal
from slipway.settings.model import Settings
from slipway.systems import SYSTEMS, system_of
from slipway.tasks import clocks, installable
from slipway.tasks.adoption import found_by_hand
from slipway.tasks.adoption_checks import (
    adoption_notes,
    adoption_problems,
    changed_parameters,
    unused_keys_of_root,
)
from slipway.tasks.adoption_facts import earlier
from slipway.tasks.overruled import overruled
from slipway.tasks.packages import is_new
from slipway.tasks.sizes import new_swap_mb

ARCHITECTURES = ("amd64",)
MIN_MEMORY_MB = 900
# Free MiB that a provisioned host needs on each file system, for an update. A new host needs, by folder, as they may be
# separate file systems: that, and what packages, MongoDB's first files and a release took (390, 390, 180, 65 below
# /usr, /var/lib, /var/cache, /var/www: `du -sm` of a lab host's changes), with some margin.
MIN_DISK_MB_NEW = {"/": 300, "/usr": 700, "/var/lib": 800, "/var/cache": 500, "/var/www": 400}
MIN_DISK_MB = 300
# Free inodes, in the same way (`find -xdev | wc -l`: 1,000, 15,000, 600, 300, 2,000 more than before).
MIN_INODES_NEW = {"/": 2000, "/usr": 25_000, "/var/lib": 2000, "/var/cache": 1000, "/var/www": 5000}
MIN_INODES = 2500
# A socket that systemd passes on has several holders, and ss may print any of them first.
ALSO_OURS = {"systemd": ("uvicorn", "python3", "python"), "sshd": ("systemd",)}
# ACME servers and TLS clients reject a larger offset.
MAX_CLOCK_SECONDS = 120


def preflight(settings: Settings, components: Sequence[Component]) -> None:
    """Raise one error with everything that blocks the server or one of its components: what was found, what is needed
    and what to do."""
    problems = blockers(settings, components)
    machine = host.get_fact(Machine)
    system = system_of(machine)
    if system and not system.proven:
        note(f"{system.title} is not tested by Slipway")
    if earlier(settings) and (by_hand := found_by_hand(settings)):
        note(f"found an existing server; its data and its site are adopted: {', '.join(by_hand)}")
    for text in dict.fromkeys(adoption_notes(settings, {one.name for one in components})):
        note(text)
    zone = other_zone(earlier(settings), settings)
    if zone and not any(problem.startswith("time zone: ") for problem in problems):
        note(f"time zone: {zone} becomes {settings.timezone} (to keep it: timezone = {literal(zone)})")
    failed = host.get_fact(Output, command="systemctl list-units --state=failed --plain --no-legend | cut -d' ' -f1")
    if failed.strip():
        note(f"units that have failed: {', '.join(failed.split())} (look further: systemctl status UNIT)")
    if keys := unused_keys_of_root(settings):
        note(f"root's ssh login ends; keys of root that are not in admin_keys: {', '.join(keys)}")
    if changed := changed_parameters(settings, machine):
        note(f"kernel parameters: {', '.join(changed)}")
    if "app" in host.groups:
        note_weak_health(settings)
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise PyinfraError(f"{host.name} is not ready to be provisioned; nothing was changed.\n{lines}")


def blockers(settings: Settings, components: Sequence[Component]) -> list[str]:
    """All blockers, a line each."""
    here = [one for one in components if one.is_on(host.groups, settings)]
    machine, fresh = host.get_fact(Machine), is_new()
    problems = [
        *system_problems(machine),
        *memory_problems(machine),
        *disk_problems(machine, fresh, new_swap_mb(settings), copied_mb(settings)),
        *clock_problems(machine, time.time()),
        *clocks.problems(settings),
    ]
    if fresh:
        # Only on a new host: a provisioned one needs no repository for a plan.
        repositories = chain.from_iterable(one.listed(one.repositories, settings) for one in here)
        unreached = network_problems(settings, [*repositories])
        problems += unreached
        # Without a network all sources fail.
        sources = host.get_fact(AptSources, seconds=settings.limits.reach)
        problems += source_problems(replace(sources, failing={}) if unreached else sources)
        problems += package_problems(settings, here)
    ports = {port: program for one in here for port, program in one.mapped(one.ports, settings).items()}
    listeners = host.get_fact(Listeners)
    problems += port_problems(listeners, ports)
    problems += chain.from_iterable(one.preflight(settings) for one in here)
    problems += in_the_way(overruled(settings), settings.adopt_without)
    problems += adoption_problems(settings, machine, {one.name for one in here})
    return problems


def package_problems(settings: Settings, here: Sequence[Component]) -> list[str]:
    """What keeps apt from the packages of these components, or programs from running."""
    names = {one.name: [*one.listed(one.early_packages, settings), *one.listed(one.packages, settings)] for one in here}
    asked = installable.question([*{*chain.from_iterable(names.values())}])
    systems = [names[one.name] for one in here if not one.listed(one.sources, settings)]
    return installable.problems(host.get_fact(Output, command=asked), {*chain.from_iterable(systems)})


def note_weak_health(settings: Settings) -> None:
    """Note the services without a health path: of these only an answer is checked."""
    for site in settings.all_sites:
        for service in site.web_services:
            if weak := site.weak_health(service):
                note(f"{site.site_name}: {weak}")


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
    system, python = system_of(machine), machine.get("python", "")
    if system and python and not python.startswith(f"{system.python}."):
        problems.append(
            f"/usr/bin/python3: found Python {python}, need {system.python}, for which the packages of {system.title}"
            f" are built (update-alternatives --remove-all python3; ln -sf python{system.python} /usr/bin/python3)"
        )
    if system is None:
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


def copied_mb(settings: Settings) -> int:
    """The size of existing sites that are copied into their first releases, in MiB."""
    found = earlier(settings)
    return sum(int(found.get(f"size {site.site_root}") or 0) for site in settings.all_sites)


def disk_problems(machine: dict[str, str], is_new: bool, swap_mb: int, copied_mb: int = 0) -> list[str]:
    """File systems that are too full. Folders on the same one add up; a new host's swap file is on /."""
    free: dict[str, int] = {}
    needed: dict[str, int] = {}
    inodes: dict[str, int] = {}
    needed_inodes: dict[str, int] = {}
    for folder, least in MIN_DISK_MB_NEW.items():
        mount, megabytes, *free_inodes = machine[f"disk:{folder}"].split()
        free[mount] = int(megabytes)
        needed[mount] = needed.get(mount, 0) + least
        needed_inodes[mount] = needed_inodes.get(mount, 0) + MIN_INODES_NEW[folder]
        if free_inodes:
            inodes[mount] = int(free_inodes[0])
    if is_new and not is_container(machine):
        needed["/"] += swap_mb
    needed[machine["disk:/var/www"].split()[0]] += copied_mb if is_new else 0
    least_now = {mount: needed[mount] if is_new else MIN_DISK_MB for mount in free}
    return [
        *(
            f"free disk space on {mount}: found {free[mount]} MiB, need {least_now[mount]} MiB"
            " (free some, or choose a larger server)"
            for mount in sorted(free)
            if free[mount] < least_now[mount]
        ),
        *(
            f"free inodes on {mount}: found {number}, need {least} (remove files: du --inodes -xd1 {mount} | sort -n)"
            for mount, number in sorted(inodes.items())
            if number < (least := needed_inodes[mount] if is_new else MIN_INODES)
        ),
    ]


def clock_problems(machine: dict[str, str], now: float) -> list[str]:
    off = int(machine.get("clock") or 0) - now
    if abs(off) > MAX_CLOCK_SECONDS:
        return [
            f"clock: found it {off:+.0f} s off this machine's, need less than {MAX_CLOCK_SECONDS} s (set it: date -s)"
        ]
    return []


def network_problems(settings: Settings, repositories: Sequence[str]) -> list[str]:
    """Repositories that the host can't connect to: the system's own, and those that components add. Not checked if apt
    uses a proxy, of its own or of /etc/environment."""
    script = (
        "env | grep -qE '^https?_proxy=.' || apt-config dump | grep -q 'Acquire::https*::Proxy \"[^\"]' ||"
        # Works without the package lists, which a new host lacks.
        f" for uri in $({LIST_TARGETS} --format '$(SOURCESENTRY) $(SITE)/'"
        f" | grep -E '^({'|'.join(SYSTEMS_OWN)}):' | grep -o 'https*://[^/]*/' | sort -u) {' '.join(repositories)}; do"
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


def port_problems(listeners: Mapping[int, str], wanted: Mapping[int, str]) -> list[str]:
    """Ports on which another program listens than the wanted one, which does so after the first run."""
    problems = []
    for port, ours in sorted(wanted.items()):
        holder = listeners.get(port, ours)
        if holder not in (ours, "") and holder not in ALSO_OURS.get(ours, ()):
            problems.append(f"port {port}: found {holder!r} listening, need it for {ours} (stop or move {holder})")
    return problems
