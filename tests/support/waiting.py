"""The one way to wait for something in a test."""

from __future__ import annotations

import time
from collections.abc import Callable

# Only ends a hang: no test is about the speed of a machine.
LIMIT_SECONDS = 600.0


def wait_until(what: str, condition: Callable[[], object], seconds: float = LIMIT_SECONDS, pause: float = 0.2) -> float:
    """Call `condition` every `pause` seconds until it is true; returns the seconds that this took.

    Raises AssertionError with `what` after `seconds`.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return time.monotonic() - began
