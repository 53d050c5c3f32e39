"""The supported systems and their differences, for the tasks and the lab's recipes. A new system is a new row here;
docs/lab.md shows how to try it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One release of a distribution. `os` and `version` are ID and VERSION_ID of its /etc/os-release."""

    title: str
    os: str
    version: str
    codename: str
    # Series of MongoDB Community for x86_64 in its own repository, the newest last, and the component they are in.
    # https://www.mongodb.com/docs/v7.0/administration/production-notes/#platform-support-matrix (and /v8.0/)
    mongodb_series: tuple[str, ...]
    mongodb_component: str
    # The minor version of the Python that it calls python3.
    python: str
    # The package of the kernel for virtual machines.
    kernel: str
    # Components of the distribution's archive; certbot and ufw are in Ubuntu's universe.
    components: tuple[str, ...]
    # Whether it packages Nginx's module for brotli-compressed files.
    brotli: bool
    # What Valkey's packages and programs begin with: "redis", which it was forked from, where it is not packaged.
    valkey: str
    # Its certbot; 4.0 is the first that asks for a profile.
    certbot: str
    # Whether the tests provision it.
    proven: bool
    # Whether its Nginx is 1.19.4 or later, the first that has ssl_reject_handshake.
    rejects_handshakes: bool = True

    @property
    def id(self) -> str:
        """Its name on the command line, "debian-12"."""
        return f"{self.os}-{self.version}"


def _debian(
    version: str,
    codename: str,
    mongodb_series: tuple[str, ...],
    python: str,
    certbot: str,
    valkey: str = "valkey",
) -> System:
    return System(
        title=f"Debian {version}",
        os="debian",
        version=version,
        codename=codename,
        mongodb_series=mongodb_series,
        mongodb_component="main",
        python=python,
        kernel="linux-image-cloud-amd64",
        components=("main",),
        brotli=True,
        valkey=valkey,
        certbot=certbot,
        proven=True,
    )


def _ubuntu(
    version: str,
    codename: str,
    mongodb_series: tuple[str, ...],
    python: str,
    certbot: str,
    brotli: bool = True,
    rejects_handshakes: bool = True,
) -> System:
    return System(
        title=f"Ubuntu {version}",
        os="ubuntu",
        version=version,
        codename=codename,
        mongodb_series=mongodb_series,
        mongodb_component="multiverse",
        python=python,
        kernel="linux-image-virtual",
        components=("main", "universe"),
        brotli=brotli,
        valkey="redis",
        certbot=certbot,
        proven=False,
        rejects_handshakes=rejects_handshakes,
    )


SYSTEMS = {
    system.id: system
    for system in (
        _debian("12", "bookworm", ("7.0", "8.0"), "3.11", certbot="2.1", valkey="redis"),
        # MongoDB has no packages for it: those of Debian 12 (`mongodb_apt_suite`), or another host (role db).
        _debian("13", "trixie", (), "3.13", certbot="4.0"),
        _ubuntu(
            "22.04", "jammy", ("6.0", "7.0", "8.0"), "3.10", certbot="1.21", brotli=False, rejects_handshakes=False
        ),
        _ubuntu("24.04", "noble", ("8.0",), "3.12", certbot="2.9"),
    )
}


def system_of(machine: Mapping[str, str]) -> System | None:
    """The system of a host, from its facts (facts.Machine); None if it is not supported."""
    return SYSTEMS.get(f"{machine.get('os')}-{machine.get('release')}")


def older(system: System) -> list[System]:
    """The earlier releases of the same distribution, the newest first."""
    found = [one for one in SYSTEMS.values() if one.os == system.os and _number(one) < _number(system)]
    return sorted(found, key=_number, reverse=True)


def lent_by(system: System) -> System | None:
    """The older release whose packages of MongoDB stand in where it has none for the system."""
    return None if system.mongodb_series else next((one for one in older(system) if one.mongodb_series), None)


def _number(system: System) -> float:
    return float(system.version)
