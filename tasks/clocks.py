"""The clocks of several application servers, compared with each other: a login that one of them signs now is not yet
valid by the clock of one that is behind (RFC 7519, iat and nbf)."""

from __future__ import annotations

import time
from typing import NamedTuple

from pyinfra import host

from slipway.engine import across
from slipway.engine.notes import note
from slipway.facts.machine import Clock
from slipway.settings.model import Settings

MAX_SECONDS, NOTED_SECONDS = 5, 2
FIX = "timedatectl set-ntp true; timedatectl timesync-status"


class Reading(NamedTuple):
    """A clock less this machine's, between two values: an answer takes its time, on a busy host some seconds."""

    least: float
    most: float


def problems(settings: Settings) -> list[str]:
    """Whether this server's clock differs from that of the first application server of the run."""
    names = [peer.name for peer in settings.peers_with("app")]
    first, *others = (across.of_run(host, names) if len(names) > 1 else []) or [host]
    if host not in others:
        return []
    seconds = apart(_read(host.name), _read(first.name))
    said = f"{seconds:+.0f} s off {first.name}'s"
    if abs(seconds) > MAX_SECONDS:
        return [f"clock: found it {said}, need at most {MAX_SECONDS} s between application servers ({FIX}, on both)"]
    if abs(seconds) > NOTED_SECONDS:
        note(f"clock: {said}; a login by one server may be refused by the other ({FIX})")
    return []


def apart(one: Reading, other: Reading) -> float:
    """By how many seconds `one` is ahead at least, less than 0 if it is behind; 0 if they may be the same."""
    return max(one.least - other.most, 0) or min(one.most - other.least, 0)


def _read(name: str) -> Reading:
    asked = time.monotonic()
    clock = across.facts(host, [name], lambda _: (Clock, {"asked": asked})).get(name, 0)
    answered = time.monotonic()
    # One that does not say tells nothing.
    return Reading(clock - answered, clock - asked) if clock else Reading(float("-inf"), float("inf"))
