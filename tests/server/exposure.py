"""The exposure of a unit's sandbox, as rated by systemd, and its resource limits."""

from __future__ import annotations

from typing import Any


def exposure_of(server: Any, unit: str) -> float:
    """From 0 (nothing) to 10 (everything), by `systemd-analyze security`."""
    shown = server.host.check_output(f"systemd-analyze security --no-pager {unit}")
    return float(shown.splitlines()[-1].split(":")[1].split()[0])


def limits_of(server: Any, unit: str) -> dict[str, int]:
    """MemoryHigh and MemoryMax in bytes, TasksMax, and OOMScoreAdjust of a unit."""
    names = "MemoryHigh,MemoryMax,TasksMax,OOMScoreAdjust"
    shown = server.host.check_output(f"systemctl show --property={names} {unit}")
    return {name: int(value) for name, value in (line.split("=") for line in shown.splitlines())}
