"""The Debian packages that the components declare, installed by two runs of apt: one per component takes longer.

Two, as a bare Debian lacks the tools to verify a repository's key. The first run also installs Python, so that the
first release is built during the second run, which takes much longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain

from pyinfra import host

from slipway.engine.components import Component, Drift, Task, component, in_order
from slipway.facts.files import FileState
from slipway.ops.files import put
from slipway.ops.packages import REFRESHED, install
from slipway.settings.model import Settings

APT_SETTINGS = "/etc/apt/apt.conf.d/00-slipway"
DPKG_STATUS = "/var/lib/dpkg/status"


def is_new() -> bool:
    """Whether no apply has run on this host yet."""
    return not host.get_fact(FileState, path=APT_SETTINGS)


def package_gone(name: str) -> str:
    """A shell command that only marks a package as removed in dpkg's status: to remove and reinstall it takes too
    long."""
    return f"sed -i '/^Package: {name}$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' {DPKG_STATUS}"


DRIFTS = {
    "a package removed": Drift("apt-get remove -y -q unattended-upgrades", "Install packages", is_compared=False),
    "certbot removed": Drift("apt-get remove -y -q certbot", "Install packages", is_compared=False),
    "a power cut emptied apt's lists": Drift(
        "apt-get remove -y -q unattended-upgrades; truncate --size 0 /var/lib/apt/lists/*_Packages",
        "Install packages",
        is_compared=False,
    ),
    "a power cut left a package half unpacked": Drift(
        # The status that dpkg writes before it unpacks. This package is a mere dependency, and apt refuses all else.
        # Without REFRESHED the lists count as old and are refreshed before a repository's key is verified.
        f"sed -i '/^Package: python3-apt$/,/^$/s/^Status: .*/Status: install reinstreq unpacked/' {DPKG_STATUS};"
        f" rm -f {REFRESHED}",
        "Install base packages",
    ),
    "a package gone": Drift(package_gone("unattended-upgrades")),
    "a base package gone": Drift(package_gone("gnupg")),
    "apt's settings removed": Drift(f"rm {APT_SETTINGS}"),
}


@component(drifts=DRIFTS)
def packages(settings: Settings, components: Sequence[Component]) -> None:
    """Install the packages of the components that are on the host."""
    here = [one for one in components if one.is_on(host.groups, settings)]
    put(name="Set apt's lock timeout", path=APT_SETTINGS, content=files(settings)[APT_SETTINGS])
    first = {one.name: one.listed(one.early_packages, settings) for one in here}
    if any(first.values()):
        untrusted = [*chain.from_iterable(one.listed(one.sources, settings) for one in here)]
        install(name="Install base packages", packages=first, without=untrusted)
    in_order([partial(_call, one.begin, one, settings) for one in components])
    in_order([partial(_call, one.before_packages, one, settings) for one in components])
    install(name="Install packages", packages={one.name: one.listed(one.packages, settings) for one in here})


def files(settings: Settings) -> dict[str, str]:
    # Otherwise apt fails at once while unattended-upgrades runs, as it does on a fresh server.
    return {APT_SETTINGS: f'DPkg::Lock::Timeout "{settings.apt_lock_timeout}";\n'}


def _call(task: Task | None, one: Component, settings: Settings) -> None:
    if task and one.is_on(host.groups, settings):
        in_order([partial(task, its) for its in one.sites(settings)])
