"""Whether this host can become the server at all. Everything is asked before anything changes; all failures at once."""

from __future__ import annotations

import time

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from slipway.facts import FileState, Listeners, Machine, Output
from slipway.settings import Settings

# https://www.mongodb.com/docs/manual/administration/production-notes/ "Supported Platforms", x86_64 packages
MONGODB_ON = {
    "6.0": {"debian 11", "ubuntu 20.04", "ubuntu 22.04"},
    "7.0": {"debian 11", "debian 12", "ubuntu 20.04", "ubuntu 22.04"},
    "8.0": {"debian 12", "ubuntu 20.04", "ubuntu 22.04", "ubuntu 24.04"},
}
SYSTEMS = {"debian 12": "Debian 12"}
OFFICIAL_REPOSITORY = "https://repo.mongodb.org"
# What the parts need together: all packages and an environment on a new host, an update's worth on one that runs.
LEAST_MEMORY_MB = 900
LEAST_DISK_MB_NEW, LEAST_DISK_MB = 2500, 300
# ACME servers and TLS clients reject a clock that is further off.
MOST_CLOCK_SECONDS = 120


def preflight(settings: Settings) -> None:
    """Raise one error with everything that is in the way, each with what was found, what is needed and what to do."""
    machine = host.get_fact(Machine)
    is_new = not host.get_fact(FileState, path="/etc/apt/apt.conf.d/00-slipway")
    problems = [
        *system_problems(machine),
        *size_problems(machine, LEAST_DISK_MB_NEW if is_new else LEAST_DISK_MB),
        *clock_problems(machine, time.time()),
    ]
    if "db" in host.groups:
        problems += mongodb_problems(machine, settings)
    if is_new:
        # Later a repository that is down is no reason not to look at a server that has all it needs.
        problems += network_problems(settings, host.groups)
    problems += port_problems(host.get_fact(Listeners), settings, host.groups)
    if "web" in host.groups:
        problems += domain_problems(machine, settings)
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
    system = f"{machine.get('os')} {machine.get('release')}"
    if system not in SYSTEMS:
        problems.append(
            f"operating system: found {system}, need {' or '.join(SYSTEMS.values())} (reinstall the server)"
        )
    return problems


def size_problems(machine: dict[str, str], least_disk_mb: int) -> list[str]:
    problems = []
    for what, found, least in (
        ("memory", int(machine.get("memory_mb") or 0), LEAST_MEMORY_MB),
        ("free disk space on /", int(machine.get("disk_mb") or 0), least_disk_mb),
    ):
        if found < least:
            problems.append(f"{what}: found {found} MiB, need {least} MiB (choose a larger server, or free some)")
    return problems


def clock_problems(machine: dict[str, str], now: float) -> list[str]:
    off = int(machine.get("clock") or 0) - now
    if abs(off) > MOST_CLOCK_SECONDS:
        return [
            f"clock: found it {off:+.0f} s off this machine's, need less than {MOST_CLOCK_SECONDS} s (set it: date -s)"
        ]
    return []


def mongodb_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    series = settings.mongodb_version
    problems = []
    if machine.get("arch") != "amd64":
        problems.append(f"architecture: found {machine.get('arch')}, need amd64: MongoDB has no Debian package for it")
    # https://www.mongodb.com/docs/manual/administration/production-notes/ : 5.0 and later need AVX
    elif machine.get("avx") != "yes":
        problems.append(
            f"processor: found no AVX, which MongoDB {series} needs (ask the provider for a newer processor)"
        )
    if settings.mongodb_apt_url.startswith(OFFICIAL_REPOSITORY):
        system = f"{machine.get('os')} {machine.get('release')}"
        if system not in MONGODB_ON.get(series, set()):
            known = ", ".join(sorted(s for s in MONGODB_ON if system in MONGODB_ON[s])) or "no series"
            problems.append(f"mongodb_version: found {series!r}; for {system} there is {known}")
    return problems


def network_problems(settings: Settings, groups: list[str]) -> list[str]:
    """Repositories that the host can't connect to. Behind a proxy of apt's own, that is apt's to find out."""
    mongodb = settings.mongodb_apt_url if "db" in groups else ""
    script = (
        "apt-config dump | grep -q 'Acquire::https*::Proxy \"[^\"]' ||"
        f" for uri in $(apt-get indextargets --format '$(REPO_URI)' | sort -u) {mongodb}; do"
        " site=${uri#*://}; site=${site%%/*}; port=80; case $uri in https:*) port=443;; esac;"
        " case $site in *:*) port=${site##*:}; site=${site%:*};; esac;"
        ' timeout 5 bash -c "exec 3<>/dev/tcp/$site/$port" || echo $site:$port; done'
    )
    unreached = sorted(set(host.get_fact(Output, command=script).split()))
    return [
        f"network: found no connection to {site}, need it to install packages (check its DNS and routes)"
        for site in unreached
    ]


def port_problems(listeners: dict[int, str], settings: Settings, groups: list[str]) -> list[str]:
    """Ports that another program holds. Our own programs may hold theirs: this is not the first run then."""
    wanted: dict[int, str] = {}
    if "web" in groups:
        wanted |= {80: "nginx", 443: "nginx"}
    if "db" in groups:
        wanted[settings.mongodb_port] = "mongod"
    if "app" in groups and settings.backend_is_tcp:
        wanted[int(settings.backend_listen.rpartition(":")[2])] = "systemd"
    problems = []
    for port, ours in sorted(wanted.items()):
        holder = listeners.get(port, ours)
        # A listening socket that systemd handed over names whichever of its holders ss prints first.
        if holder not in (ours, "") and not (ours == "systemd" and holder in ("uvicorn", "python3", "python")):
            problems.append(f"port {port}: found {holder!r} listening, need it for {ours} (stop or move {holder})")
    return problems


def domain_problems(machine: dict[str, str], settings: Settings) -> list[str]:
    """Names that don't lead to this host: no certificate can be issued for them."""
    own = set(machine.get("addresses", "").split())
    # Behind a provider's NAT the public address is not on the host: it is the one that we reach it by.
    reached = host.data.get("ssh_hostname") or host.name
    problems = []
    for domain in settings.domains:
        found = set(host.get_fact(Output, command=f"getent ahosts {domain} | cut -d' ' -f1 | sort -u").split())
        if not found:
            problems.append(
                f"site_domain: found no address for {domain}, need {' or '.join(sorted(own))} (set it in the DNS)"
            )
        elif not found & (own | {reached}):
            problems.append(
                f"site_domain: found {domain} at {', '.join(sorted(found))}, need this host's"
                f" {' or '.join(sorted(own))} (change the DNS, or the setting)"
            )
    return problems
