"""Settings as a user has them: the defaults of group_data/all.py, with a secrets file."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.settings import Settings, check

# Of nobody: its private half is thrown away.
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0cWoRVeYh0DsKwGWEekVb8yWCM2esirnFXXVeSC+KN nobody"
PROJECT = Path(__file__).resolve().parents[2]
# RFC 2606: a name that never resolves, so that whoever connects would say so.
INVENTORY = 'web = app = db = ["server.invalid"]\n'


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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with an inventory of its own and the secrets that it wants."""
    for name in ("slipway", "lab", "tasks", "templates", "group_data", "tests/server"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    for name in ("examples/codementee/backend", "examples/codementee/frontend"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "examples/codementee/backend/requirements.txt").touch()
    shutil.copy(PROJECT / "deploy.py", tmp_path)
    (tmp_path / "inventory.py").write_text(INVENTORY)
    own = f"admin_keys = [{PUBLIC_KEY!r}]\nsecrets_file = 'secrets/production.env'\n"
    (tmp_path / "group_data/web.py").write_text(own)
    secrets = tmp_path / "secrets/production.env"
    secrets.parent.mkdir()
    secrets.touch(mode=0o600)
    secrets.write_text("JWT_SECRET=3b4f0c6a\nADMIN_PASSWORD=3b4f0c6b\n")
    return tmp_path
