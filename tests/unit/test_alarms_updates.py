"""The alarms about apt's updates, on a fake host."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.alarms import updates
from support.made_up import MadeUp, found


@pytest.fixture
def host() -> MadeUp:
    return MadeUp()


def test_security_updates_are_reported_after_days(host):
    host.commands["apt-get"] = (
        0,
        "Inst openssl [3.0.1] (3.0.2 Debian-Security:12/stable-security [amd64])\nInst vim [1] (2 Debian:12 [amd64])\n",
    )
    memory: dict[str, Any] = {}
    assert found(updates.updates, host, memory) == {}
    host.time += 3 * updates.DAY + updates.HOUR + 1
    assert [*found(updates.updates, host, memory).values()] == [
        "1 security updates pending for more than 3 days: openssl"
    ]
    host.commands["apt-get"] = (0, "")
    host.time += updates.HOUR + 1
    assert found(updates.updates, host, memory) == {}


def test_updates_that_somebody_has_installed_are_resolved_at_the_next_look(host):
    pending = "Inst openssl [3.0.1] (3.0.2 Debian-Security:12/stable-security [amd64])\n"
    host.commands["apt-get"] = (0, pending)
    memory: dict[str, Any] = {}
    assert found(updates.updates, host, memory) == {}
    host.time += 3 * updates.DAY + updates.HOUR + 1
    assert [*found(updates.updates, host, memory)] == ["updates"]
    host.commands["apt-get"] = (0, "")
    host.time += 30
    assert [*found(updates.updates, host, memory)] == ["updates"], "no package has changed"
    host.times[updates.STATUS] = host.time
    host.time += 30
    assert found(updates.updates, host, memory) == {}
    # And apt, once dpkg was repaired.
    memory = {}
    host.commands["apt-get"] = (100, "")
    assert found(updates.updates, host, memory) == {}
    memory["updates_failing"] -= updates.HOUR + 1
    assert [*found(updates.updates, host, memory)] == ["apt"]
    host.commands["apt-get"] = (0, "")
    host.times[updates.STATUS] = host.time + 1
    assert found(updates.updates, host, memory) == {}


def test_apt_that_cannot_compute_updates_is_reported_after_an_hour_and_not_asked_at_each_look(host, monkeypatch):
    asked: list[float] = []

    def run(*command: str, seconds: float = 20) -> tuple[int, str]:
        asked.append(host.time)
        return 100, ""

    monkeypatch.setattr(host, "run", run)
    memory: dict[str, Any] = {}
    for _ in range(120):
        assert found(updates.updates, host, memory) == {}
        host.time += 30
    assert len(asked) <= 6
    host.time += 30
    assert [*found(updates.updates, host, memory).values()] == ["apt has not been able to compute updates for an hour"]
    monkeypatch.setattr(host, "run", lambda *_, seconds=0: (0, ""))
    host.time += updates.UPDATES_RETRY + 1
    assert found(updates.updates, host, memory) == {}


def test_lists_that_are_no_longer_refreshed_are_reported(host):
    memory: dict[str, Any] = {}
    host.times[updates.HOOK] = host.time - 90 * updates.DAY
    host.times[updates.REFRESHED] = host.time - 1 * updates.DAY
    assert found(updates.updates, host, memory) == {}
    host.time += 3 * updates.DAY
    assert found(updates.updates, host, memory) == {}, "nobody could refresh them where the server was off"
    host.time += 1
    assert [*found(updates.updates, host, memory).values()] == ["apt's lists were not refreshed for 3 days"]
    del host.times[updates.HOOK]
    assert found(updates.updates, host, memory) == {}, "without the hook nobody knows"
    host.times |= {updates.HOOK: host.time, updates.REFRESHED: host.time}
    assert found(updates.updates, host, memory) == {}
