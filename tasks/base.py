"""The operating system: time, locale, the journal. Its other parts: kernel, logins, updates, fail2ban."""

from __future__ import annotations

from pyinfra import host

from slipway.engine.components import Drift, component
from slipway.engine.notes import skipped
from slipway.facts.machine import Machine, is_container
from slipway.facts.sizes import JOURNALD
from slipway.facts.units import Unit
from slipway.ops.commands import ensure
from slipway.ops.files import link, put
from slipway.ops.units import restart, service
from slipway.settings.model import Settings
from slipway.tasks.authority import server_certificate
from slipway.tasks.sizes import journal_configuration

# Since this Debian the locale is in systemd's locale.conf; each boot makes /etc/default/locale a link to it
# (/usr/lib/tmpfiles.d/debian.conf).
LOCALE_CONF_SINCE = 13
# What sets a clock in the place of systemd-timesyncd; their packages conflict with it.
CLOCKS = ("chrony", "ntpsec", "ntp", "openntpd")
PACKAGES = ["ca-certificates", "logrotate", "procps", "tzdata"]


def packages(settings: Settings) -> list[str]:
    time = ["systemd-timesyncd"] if wants_timesyncd() else []
    locales = ["locales"] if settings.locale != "C.UTF-8" else []
    return [*PACKAGES, *time, *locales, *settings.extra_packages]


DRIFTS = {
    "the time zone changed": Drift("ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime", "Set the time zone"),
    "the time zone's name changed": Drift("echo Asia/Kolkata > /etc/timezone"),
    "another locale": Drift("echo LANG=de_DE.UTF-8 > /etc/default/locale", "Set the locale"),
    "the journal unlimited": Drift("rm /etc/systemd/journald.conf.d/slipway.conf"),
}


@component(packages=packages, drifts=DRIFTS)
def base(settings: Settings) -> None:
    """Common to all hosts, whatever their roles."""
    _time(settings)
    _locale(settings)
    server_certificate(settings)
    journal = put(
        name="Limit the journal's size",
        path=JOURNALD,
        content=journal_configuration(settings),
    )
    restart(name="Restart the journal", unit="systemd-journald.service", _if=journal.did_change)


def _time(settings: Settings) -> None:
    link(name="Set the time zone", path="/etc/localtime", target=f"/usr/share/zoneinfo/{settings.timezone}")
    put(name="Write /etc/timezone", path="/etc/timezone", content=f"{settings.timezone}\n")
    if is_container(host.get_fact(Machine)):
        skipped("time synchronisation", "a container has its host's clock")
    elif wants_timesyncd():
        service(name="Start time synchronisation", unit="systemd-timesyncd.service")


def wants_timesyncd() -> bool:
    """Whether nothing else sets the clock: neither another NTP daemon nor a container's host."""
    if is_container(host.get_fact(Machine)):
        return False
    others = (host.get_fact(Unit, unit=f"{name}.service") for name in CLOCKS)
    return not any(other.get("ActiveState") == "active" for other in others)


def _locale(settings: Settings) -> None:
    if settings.locale != "C.UTF-8":
        pattern = settings.locale.replace(".UTF-8", ".utf8")
        ensure(
            name=f"Generate the locale {settings.locale}",
            check=f"locale -a | grep -qx '{pattern}'",
            command=f"echo '{settings.locale} UTF-8' >> /etc/locale.gen && locale-gen",
        )
    machine: dict[str, str] = host.get_fact(Machine)
    moved = machine.get("os") == "debian" and float(machine.get("release") or 0) >= LOCALE_CONF_SINCE
    file = "/etc/locale.conf" if moved else "/etc/default/locale"
    put(name="Set the locale", path=file, content=f"LANG={settings.locale}\n")
    if moved:
        link(name="Link the former file of the locale", path="/etc/default/locale", target="../locale.conf")
