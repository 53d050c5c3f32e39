"""Settings as a user has them: the defaults of group_data/all.py, with a secrets file."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.settings import Settings, check

# Of nobody: its private half is thrown away.
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0cWoRVeYh0DsKwGWEekVb8yWCM2esirnFXXVeSC+KN nobody"
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.fixture
def defaults(tmp_path: Path) -> dict[str, Any]:
    """What group_data/all.py says, with a secrets file that is in order."""
    data = {k: v for k, v in runpy.run_path(str(PROJECT / "group_data/all.py")).items() if not k.startswith("__")}
    file = tmp_path / "secrets.env"
    file.touch(mode=0o600)
    file.write_text("JWT_SECRET=3b4f0c6a5d9e8f7a6b5c4d3e2f1a0b9c\nADMIN_PASSWORD='correct horse'\n")
    return {**data, "secrets_file": str(file), "admin_keys": [PUBLIC_KEY]}


@pytest.fixture
def settings_with(defaults: dict[str, Any]) -> Callable[..., Settings]:
    """The defaults with some changed, not checked: templates are judged with odd values too."""

    def make(**changes: Any) -> Settings:
        if "frontend_assets" in changes:
            return check(defaults).model_copy(update=changes)
        return check({**defaults, **changes})

    return make
