"""Small projects of strangers (tests/projects), each as a further site of a lab host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from support.checkout import PROJECT
from support.lab_host import LabHost
from support.releases import EXAMPLE


def copied(name: str, folder: Path) -> Path:
    """A copy of a project, whose backends have the example's dependencies: a server installs them once."""
    shutil.copytree(PROJECT / "tests/projects" / name, folder / name)
    for module in (folder / name).rglob("main.py"):
        shutil.copy(EXAMPLE / "backend/requirements.txt", module.parent)
    return folder / name


def site(server: LabHost, name: str, backend: Path, frontend: Path | str = "", **settings: Any) -> dict[str, Any]:
    """The settings of a site, whose host name leads to the server."""
    domain = f"{name}.{server.site().domain}"
    server.resolve(domain)
    parts = {"backend_source": str(backend), "backend_app": "main:app", "frontend_source": str(frontend)}
    secrets = {"backend_secrets": [], "generated_secrets": ["MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]}
    return {"site_name": name, "site_domain": domain, **secrets, **parts, **settings}


def sites(*them: dict[str, Any]) -> tuple[str, ...]:
    return "--data", f"sites={json.dumps(them)}"
