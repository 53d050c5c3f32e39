"""The Debian packages that the components name in their modules, by two runs of apt: one a component takes longer.

It is two, as a bare Debian has nothing to look at MongoDB's key with, before its repository is trusted. The first also
brings Python, so that a first release is made while the second, much longer, is under way.
"""

from __future__ import annotations

from pyinfra import host

from slipway.engine.components import component
from slipway.ops.files import put
from slipway.ops.packages import install
from slipway.settings.model import Settings
from slipway.tasks import (
    admin,
    auditing,
    backend,
    base,
    fail2ban,
    firewall,
    logins,
    mongodb,
    nginx,
    release_steps,
    tls,
    updates,
)
from slipway.tasks.environment import put_python, put_uv
from slipway.tasks.release import BUILD_PACKAGES, begin_first, parts_here


@component
def packages(settings: Settings) -> None:
    """All packages of all roles of the host."""
    put(
        name="Set apt's lock timeout",
        path="/etc/apt/apt.conf.d/00-slipway",
        # Without it an apt command fails at once while unattended-upgrades is at work, as it is on a fresh server.
        content=f'DPkg::Lock::Timeout "{settings.apt_lock_timeout}";\n',
    )
    if first := first_by_component():
        install(name="Install base packages", packages=first, without=mongodb.SOURCES)
    if "app" in host.groups:
        put_uv(settings.limits)
        for site in settings.all_sites:
            put_python(site)
    if "app" in host.groups or "web" in host.groups:
        for site in settings.all_sites:
            begin_first(name="Start building the first release", settings=site, parts=parts_here())
    if "db" in host.groups:
        mongodb.repository(settings)
    if "web" in host.groups:
        nginx.start_configured_only()
    install(name="Install packages", packages=by_component(settings))


def first_by_component() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if "db" in host.groups:
        found["MongoDB's key"] = mongodb.KEY_PACKAGES
    if "app" in host.groups:
        found["backend"] = backend.PACKAGES
    return found


def by_component(settings: Settings) -> dict[str, list[str]]:
    found = {
        "base": base.packages(settings),
        "updates": updates.PACKAGES,
        "admin": admin.PACKAGES,
        "logins": logins.PACKAGES,
        "auditing": auditing.packages(),
        "firewall": firewall.PACKAGES,
        "bans": fail2ban.PACKAGES,
    }
    if "db" in host.groups:
        found[f"MongoDB {settings.mongodb_version}"] = mongodb.packages(settings)
    if "web" in host.groups:
        found |= {"Nginx": nginx.packages(), "certbot": tls.PACKAGES}
        if "app" not in host.groups:
            found["releases"] = release_steps.PACKAGES
        if any(site.frontend_build_on == "server" for site in settings.all_sites):
            found["frontend"] = BUILD_PACKAGES
    return found
