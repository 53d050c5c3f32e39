"""The Debian packages that the components name in their modules, by two runs of apt: one a component takes longer.

It is two, as a bare Debian has nothing to look at MongoDB's key with, before its repository is trusted.
"""

from __future__ import annotations

from pyinfra import host

from slipway.operations import install, put
from slipway.settings import Settings
from tasks import backend, base, firewall, mongodb, nginx, tls


def packages(settings: Settings) -> None:
    """All packages of all roles of the host."""
    put(
        name="Let apt wait for its lock",
        path="/etc/apt/apt.conf.d/00-slipway",
        # Without it an apt command fails at once while unattended-upgrades is at work, as it is on a fresh server.
        content=f'DPkg::Lock::Timeout "{settings.apt_lock_timeout}";\n',
    )
    if "db" in host.groups:
        install(name="Install what checks MongoDB's key", packages={"MongoDB's key": mongodb.KEY_PACKAGES})
        mongodb.repository(settings)
    install(name="Install the packages", packages=by_component(settings))


def by_component(settings: Settings) -> dict[str, list[str]]:
    found = {"base": base.packages(settings), "firewall": firewall.PACKAGES}
    if "db" in host.groups:
        found[f"MongoDB {settings.mongodb_version}"] = mongodb.packages(settings)
    if "app" in host.groups:
        found["backend"] = backend.PACKAGES
    if "web" in host.groups:
        found |= {"Nginx": nginx.PACKAGES, "certbot": tls.PACKAGES}
    return found
