"""The alarm of a clock that no time server sets, on a fake host."""

from __future__ import annotations

from typing import Any

from slipway.alarms import checks
from support.made_up import MadeUp, found


def test_a_clock_that_is_not_synchronized_is_reported_after_a_while_and_not_in_a_container():
    host = MadeUp()
    host.commands["systemd-detect-virt"] = (1, "none\n")
    host.commands["timedatectl"] = (0, "no\n")
    memory: dict[str, Any] = {}
    assert found(checks.clock, host, memory) == {}
    host.time += 15 * 60 + 1
    assert found(checks.clock, host, memory) == {"clock": "the clock has not been synchronized for 15 minutes"}
    host.commands["timedatectl"] = (0, "yes\n")
    assert found(checks.clock, host, memory) == {}
    host.commands["timedatectl"] = (0, "no\n")
    assert found(checks.clock, host, memory) == {}, "it begins anew"
    host.time += 15 * 60 + 1
    host.commands["systemd-detect-virt"] = (0, "docker\n")
    assert found(checks.clock, host, memory) == {}
