"""Automatic updates."""

from __future__ import annotations

import re

import pytest

from slipway.tasks import updates


def test_security_updates_are_installed_automatically(server):
    assert server.host.package("unattended-upgrades").is_installed
    shown = server.host.check_output("apt-config dump APT::Periodic::Unattended-Upgrade")
    assert shown == 'APT::Periodic::Unattended-Upgrade "1";'


def test_only_security_updates_are_installed_automatically(server):
    shown = server.host.check_output("unattended-upgrade --dry-run -v 2>&1 | grep '^Allowed origins'")
    origins = [part for part in shown.partition(":")[2].split(", ") if part]
    assert origins
    # Ubuntu's release itself never changes, and has what an update may newly need.
    frozen = r"origin=Ubuntu,archive=[a-z]+,label=Ubuntu"
    assert [origin for origin in origins if "ecurity" not in origin and not re.fullmatch(frozen, origin)] == []
    assert "mongo" not in shown.lower()


def test_a_required_reboot_has_its_time(server):
    shown = server.host.check_output("apt-config dump Unattended-Upgrade::Automatic-Reboot").splitlines()
    at = updates.reboot_time(server.settings)
    assert f'Unattended-Upgrade::Automatic-Reboot "{"true" if at else "false"}";' in shown
    if at:
        time = server.host.check_output("apt-config dump Unattended-Upgrade::Automatic-Reboot-Time")
        assert time == f'Unattended-Upgrade::Automatic-Reboot-Time "{at}";'


@pytest.mark.parametrize("timer", ["apt-daily.timer", "apt-daily-upgrade.timer"])
def test_its_timers_are_active(server, timer):
    assert server.host.check_output(f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"
