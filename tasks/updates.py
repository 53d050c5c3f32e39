"""Security updates: installed daily, services restarted, and a new kernel booted at reboot_time."""

from __future__ import annotations

from slipway.engine.components import Drift, component
from slipway.ops.files import put_all
from slipway.ops.templates import render
from slipway.ops.units import know, service
from slipway.settings.model import Settings
from slipway.settings.system import System

PACKAGES = ["unattended-upgrades"]
RESTART = "/usr/local/lib/slipway/restart-updated"
# Between the reboots of two servers: one boots within minutes, and a member of MongoDB's set has caught up by then.
APART_MINUTES, DAY_MINUTES = 15, 24 * 60


DRIFTS = {
    "updates of every kind enabled": Drift("rm /etc/apt/apt.conf.d/52slipway", "Configure unattended security updates"),
    "updates disabled": Drift(
        "systemctl disable --now apt-daily-upgrade.timer", "Enable the timer that installs updates"
    ),
    "updates are not downloaded": Drift("systemctl mask --now apt-daily.timer"),
    "nothing behind the timer": Drift(
        "systemctl mask apt-daily-upgrade.service", "Enable the timer that installs updates"
    ),
    "no restart after updates": Drift(f"rm {RESTART}"),
}


@component(packages=PACKAGES, drifts=DRIFTS)
def updates(settings: Settings) -> None:
    put_all(name="Configure unattended security updates", files=files(settings))
    know(name="Reload systemd for the update hooks", unit="apt-daily-upgrade.service")
    service(name="Enable the timer that downloads updates", unit="apt-daily.timer")
    service(name="Enable the timer that installs updates", unit="apt-daily-upgrade.timer")


def reboot_time(settings: Settings) -> str:
    """When this server reboots, "HH:MM", "" for never. Of servers with one reboot_time each follows the one before it
    in the inventory: rebooting at once they would take the site down, and MongoDB's majority."""
    if not settings.reboot_time:
        return ""
    default = System.model_fields["reboot_time"].default
    names = [peer.name for peer in settings.peers if peer.given.get("reboot_time", default) == settings.reboot_time]
    before = names.index(settings.here.name) if settings.here and settings.here.name in names else 0
    hours, minutes = map(int, settings.reboot_time.split(":"))
    at = (60 * hours + minutes + before * APART_MINUTES) % DAY_MINUTES
    return f"{at // 60:02}:{at % 60:02}"


def files(settings: Settings) -> dict[str, str]:
    return {
        "/etc/apt/apt.conf.d/20auto-upgrades": render("updates/20auto-upgrades"),
        "/etc/apt/apt.conf.d/52slipway": render("updates/52slipway", reboot_time=reboot_time(settings)),
        # needrestart would do this too, but depends on binutils.
        "/etc/systemd/system/apt-daily-upgrade.service.d/slipway.conf": render("updates/restart.conf", script=RESTART),
        RESTART: render("updates/restart"),
    }
