"""Small foreign projects (tests/projects), each as a further site of a lab host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from support.checkout import PROJECT
from support.lab_host import LabHost
from support.releases import EXAMPLE

PROJECTS = PROJECT / "tests/projects"
LISTS = ("requirements.txt", "pyproject.toml", "Pipfile")


def copied(name: str, folder: Path) -> Path:
    """A copy of a project. Backends without a list of packages get the example's: a server installs them once. A list
    alone gets an application."""
    top = Path(shutil.copytree(PROJECTS / name, folder / name))
    if not any(top.rglob("*.py")):
        shutil.copy(PROJECTS / "main.py", top)
    if any([*top.rglob(name)] for name in LISTS):
        return top
    modules = [*top.rglob("main.py"), *top.rglob("server.py")]
    for place in [module.parent for module in modules]:
        # The dependencies of a package are listed in its folder's parent.
        listed = place.parent if (place / "__init__.py").exists() else place
        shutil.copy(EXAMPLE / "backend/requirements.txt", listed)
    return top


def site(server: LabHost, name: str, backend: Path, frontend: Path | str = "", **settings: Any) -> dict[str, Any]:
    """The settings of a site whose host name resolves to the server."""
    domain = f"{name}.{server.site().domain}"
    server.resolve(domain)
    parts = {"backend_source": str(backend), "backend_app": "main:app", "frontend_source": str(frontend)}
    secrets = {"backend_secrets": [], "generated_secrets": ["MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]}
    return {"site_name": name, "site_domain": domain, **secrets, **parts, **settings}


def sites(*them: dict[str, Any]) -> tuple[str, ...]:
    return "--data", f"sites={json.dumps(them)}"
