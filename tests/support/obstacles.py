"""What blocks an adoption, as tests name it."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.adoption import Obstacle

SERVICE = "codementee-backend.service"


def told(obstacles: Iterable[Obstacle]) -> list[str]:
    return [one.name for one in obstacles]
