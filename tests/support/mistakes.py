"""A user's mistake, and what `slipway` says of it."""

from __future__ import annotations

from pathlib import Path

from support.typed import slipway


def told(project: Path, *arguments: str) -> str:
    """The error of `slipway` on a mistake: the exit code must be 1, without a traceback."""
    done = slipway(*arguments, cwd=project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr
