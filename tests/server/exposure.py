"""How much of a system a unit's sandbox leaves open, as systemd itself rates it."""

from __future__ import annotations

from typing import Any


def exposure_of(server: Any, unit: str) -> float:
    """From 0 (nothing) to 10 (everything), by `systemd-analyze security`."""
    shown = server.host.check_output(f"systemd-analyze security --no-pager {unit}")
    return float(shown.splitlines()[-1].split(":")[1].split()[0])
