"""A user's mistake, and what `slipway` says of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def told(project: Path, *arguments: str) -> str:
    """The error of `slipway` on a mistake: the exit code must be 1, without a traceback."""
    command = [sys.executable, "-m", "slipway", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr
