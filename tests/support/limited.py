"""Short time limits for a test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.settings import limits


def limited(monkeypatch: pytest.MonkeyPatch, **seconds: int) -> None:
    """Set some of the limits (slipway/settings/limits.py), in seconds."""
    monkeypatch.setattr(limits, "SHIPPED", replace(limits.SHIPPED, **seconds))
