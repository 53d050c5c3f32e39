"""Security updates."""

from __future__ import annotations

from slipway.settings.peers import Peer
from slipway.tasks import updates


def test_servers_with_one_reboot_time_reboot_one_after_the_other(settings_with):
    def peers(here: str) -> tuple[Peer, ...]:
        given = {"one": {}, "other": {"reboot_time": "05:00"}, "two": {}, "three": {"reboot_time": "23:50"}, "four": {}}
        return tuple(Peer(name, ("db",), "", its, name == here) for name, its in given.items())

    def at(here: str, **its: str) -> str:
        settings = settings_with(**its)
        settings._peers = peers(here)
        return updates.reboot_time(settings)

    assert [at("one"), at("two"), at("four")] == ["04:00", "04:15", "04:30"]
    assert (at("other", reboot_time="05:00"), at("three", reboot_time="23:50")) == ("05:00", "23:50")
    late = settings_with(reboot_time="23:50")
    late._peers = tuple(Peer(n, ("db",), "", {"reboot_time": "23:50"}, n == "two") for n in ("one", "two"))
    assert updates.reboot_time(late) == "00:05"
    assert updates.reboot_time(settings_with()) == "04:00"
    assert at("two", reboot_time="") == ""
