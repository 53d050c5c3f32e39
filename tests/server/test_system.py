"""Every server, whatever its role and its components."""

from __future__ import annotations

from slipway.facts.base import key_values
from slipway.systems import system_of


def test_it_runs_a_supported_system_under_systemd(server):
    lines = server.host.check_output("sed -n 's/\"//g; s/^ID=/os=/p; s/^VERSION_ID=/release=/p' /etc/os-release")
    assert system_of(key_values(lines.splitlines())) is not None
    assert server.host.file("/proc/1/comm").content_string == "systemd\n"


def test_no_unit_has_failed(server):
    assert server.host.check_output("systemctl list-units --state=failed --plain --no-legend") == ""
