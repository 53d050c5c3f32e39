"""Recorded answers of hosts to `slipway inspect` (tests/unit/recorded), for tests without a host."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway.inspection.collect import report_of
from slipway.inspection.report import Report

FOLDER = Path(__file__).resolve().parents[1] / "unit/recorded"
# When they were recorded.
WHEN = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
AS_JSON = ("machine", "listeners", "sshd", "ufw")


def text(name: str) -> str:
    """One output."""
    return (FOLDER / name).read_text()


def answers(host: str) -> dict[str, Any]:
    """All answers of a host: "by_hand" is the server of tests/e2e/by_hand with what is beside its site."""
    found: dict[str, Any] = {}
    for file in sorted((FOLDER / host).iterdir()):
        found[file.name] = json.loads(file.read_text()) if file.name in AS_JSON else file.read_text()
    # JSON has no numbers as keys.
    found["listeners"] = {int(port): program for port, program in found["listeners"].items()}
    return found


def report(host: str = "by_hand", without_root: str = "", **changes: Any) -> Report:
    """The report made from them; `changes` replaces answers."""
    user = "eve" if without_root else "root"
    return report_of({**answers(host), **changes}, "byhand.test", user, without_root, WHEN)
