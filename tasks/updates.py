"""Security updates: installed daily, services restarted, and a new kernel booted at reboot_time."""

from __future__ import annotations

from slipway.engine.components import Drift, component
from slipway.ops.files import put_all
from slipway.ops.templates import render
from slipway.ops.units import know, service
from slipway.settings.model import Settings

PACKAGES = ["unattended-upgrades"]
RESTART = "/usr/local/lib/slipway/restart-updated"


DRIFTS = {
    "updates of every kind enabled": Drift("rm /etc/apt/apt.conf.d/52slipway", "Configure unattended security updates"),
    "updates disabled": Drift(
        "systemctl disable --now apt-daily-upgrade.timer", "Enable the timer that installs updates"
    ),
    "updates are not downloaded": Drift("systemctl mask --now apt-daily.timer"),
    "no restart after updates": Drift(f"rm {RESTART}"),
}


@component(packages=PACKAGES, drifts=DRIFTS)
def updates(settings: Settings) -> None:
    put_all(name="Configure unattended security updates", files=files(settings))
    know(name="Reload systemd for the update hooks", unit="apt-daily-upgrade.service")
    service(name="Enable the timer that downloads updates", unit="apt-daily.timer")
    service(name="Enable the timer that installs updates", unit="apt-daily-upgrade.timer")


def files(settings: Settings) -> dict[str, str]:
    return {
        "/etc/apt/apt.conf.d/20auto-upgrades": render("updates/20auto-upgrades"),
        "/etc/apt/apt.conf.d/52slipway": render("updates/52slipway", settings=settings),
        # needrestart would do this too, but depends on binutils.
        "/etc/systemd/system/apt-daily-upgrade.service.d/slipway.conf": render("updates/restart.conf", script=RESTART),
        RESTART: render("updates/restart"),
    }
