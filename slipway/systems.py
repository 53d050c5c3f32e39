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
    # Whether the tests provision it.
    proven: bool

    @property
    def id(self) -> str:
        """Its name on the command line, "debian-12"."""
        return f"{self.os}-{self.version}"


def _debian(
    version: str,
    codename: str,
    mongodb_series: tuple[str, ...],
    python: str,
    valkey: str = "valkey",
    proven: bool = False,
) -> System:
    title, kernel = f"Debian {version}", "linux-image-cloud-amd64"
    series, main = mongodb_series, ("main",)
    return System(title, "debian", version, codename, series, "main", python, kernel, main, True, valkey, proven)


def _ubuntu(version: str, codename: str, mongodb_series: tuple[str, ...], python: str, brotli: bool) -> System:
    title, kernel = f"Ubuntu {version}", "linux-image-virtual"
    components = ("main", "universe")
    series, component = mongodb_series, "multiverse"
    return System(
        title, "ubuntu", version, codename, series, component, python, kernel, components, brotli, "redis", False
    )


SYSTEMS = {
    system.id: system
    for system in (
        _debian("12", "bookworm", ("7.0", "8.0"), "3.11", valkey="redis", proven=True),
        # MongoDB has no packages for it; the database can be on another host (role db).
        _debian("13", "trixie", (), "3.13"),
        _ubuntu("22.04", "jammy", ("6.0", "7.0", "8.0"), "3.10", brotli=False),
        _ubuntu("24.04", "noble", ("8.0",), "3.12", brotli=True),
    )
}


def system_of(machine: Mapping[str, str]) -> System | None:
    """The system of a host, from its facts (facts.Machine); None if it is not supported."""
    return SYSTEMS.get(f"{machine.get('os')}-{machine.get('release')}")
