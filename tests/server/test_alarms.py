"""The alarms, from their state on the host."""

from __future__ import annotations

import json
import time

from slipway.server_tests.exposure import exposure_of
from slipway.settings.alarms import secret_names


def test_the_checks_run(server):
    timer = server.host.service("slipway-alarms.timer")
    assert timer.is_running
    assert timer.is_enabled
    state = json.loads(server.host.check_output("cat /var/lib/slipway/alarms/state.json"))
    assert time.time() - state["looked"] < 300


def test_nothing_is_broken(server):
    state = json.loads(server.host.check_output("cat /var/lib/slipway/alarms/state.json"))
    assert [its["text"] for its in state["open"].values() if its["told"]] == []


def test_no_message_is_queued(server):
    assert server.host.check_output("ls /var/lib/slipway/alarms/queue 2> /dev/null || :") == ""


def test_a_failed_unit_starts_the_alarms(server):
    shown = server.host.check_output("systemctl show --property=OnFailure --value nginx ssh slipway-alarms").split("\n")
    assert [line for line in shown if line] == ["slipway-alarms-at-once.timer"] * 2


def test_its_secrets_are_readable_only_by_root_and_in_no_command_line(server):
    settings = server.settings
    lines = server.host.check_output("cat /proc/*/cmdline 2> /dev/null | tr '\\0' ' '")
    for name in secret_names(lambda setting: getattr(settings, setting)):
        file = server.host.file(f"{settings.credentials_folder}/{name}")
        assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
        assert file.content_string not in lines


def test_it_is_sandboxed(server, figure):
    exposure = exposure_of(server, "slipway-alarms.service")
    figure("systemd-analyze security, slipway-alarms", exposure, "at most 2.6", exposure <= 2.6)
