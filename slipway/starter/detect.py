"""Derives a project's settings from its code: one function per setting, in one table.

A new finding becomes a setting by a function that returns a Found, and a row of TABLE.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slipway.secrets.store import MONGODB_ADMIN, MONGODB_BACKEND
from slipway.settings.doc import literal
from slipway.settings.model import Settings
from slipway.starter.detect_frontend import (
    backend_build,
    frontend_assets,
    frontend_build,
    frontend_output,
    frontend_source,
    pages_server,
    pages_service,
    stripped,
)
from slipway.starter.environment import kept_name, valkey_variable
from slipway.starter.found import Found, Reading
from slipway.starter.reading.files import Repository
from slipway.starter.reading.needs import libraries
from slipway.starter.reading.packages import other_indexes
from slipway.starter.reading.project import read
from slipway.starter.reading.roots import is_within

# The Python of Debian 12, the default.
SYSTEM_PYTHON = (3, 11)


def reading(top: Path, folder: Path, answers: Mapping[str, Any]) -> Reading:
    """Read the repository at `top` for settings in `folder`."""
    chosen = str(answers.get("backend_app", ""))
    if chosen and answers.get("backend_source"):
        source = os.path.relpath(folder / str(answers["backend_source"]), top)
        chosen = f"{'' if source == '.' else source}/{chosen}" if source != "." else chosen
    builds = bool(answers.get("frontend_source"))
    return Reading(read(Repository(top), chosen, builds), folder, answers, TABLE)


# --- Access -----------------------------------------------------------------------------------------------------------


def admin_keys(of: Reading) -> Found | None:
    """The public key, if it is not the default one that ssh tries first."""
    names = [f"~/.ssh/id_{kind}.pub" for kind in ("ed25519", "ecdsa", "rsa") if is_key(f"~/.ssh/id_{kind}.pub")]
    return Found("admin_keys", names[:1], "your public ssh key") if names and "ed25519" not in names[0] else None


def is_key(file: str) -> bool:
    return Path(file).expanduser().is_file()


# --- The backend ------------------------------------------------------------------------------------------------------


def backend_source(of: Reading) -> Found | None:
    if not (backend := of.project.backend):
        return None
    return Found("backend_source", of.relative(backend.source), f"{backend.app.file}: imported from this folder")


def backend_app(of: Reading) -> Found | None:
    if not (backend := of.project.backend):
        return None
    app = backend.app
    how = "makes a FastAPI application" if app.is_factory else f"{app.name} = FastAPI(...)"
    said = f"; {app.start.place} starts it" if app.start else ""
    return Found("backend_app", app.target, f"{app.place}: {how}{said}")


def backend_requirements(of: Reading) -> Found | None:
    """Only if it would not be found by default, in backend_source."""
    backend = of.project.backend
    listed = backend.dependencies if backend else None
    if not backend or not listed or (listed.folder == backend.source and not listed.installed_at):
        return None
    where = f"{listed.form}; {listed.installed_at} installs it" if listed.installed_at else listed.form
    return Found("backend_requirements", posixpath.relpath(listed.file or ".", backend.source or "."), where)


def extra_packages(of: Reading) -> Found | None:
    backend = of.project.backend
    found = libraries(backend.dependencies) if backend and backend.dependencies else {}
    if server := pages_server(of):
        found["nodejs"] = server.command
    details = {debian: f"{name} needs it" for debian, name in found.items()}
    return Found("extra_packages", [*found], "", details) if found else None


def python_indexes(of: Reading) -> Found | None:
    backend = of.project.backend
    if not backend or not backend.dependencies:
        return None
    there = other_indexes(of.repository, backend.dependencies.folder)
    details = {name: str(place) for name, (_, place) in there.items()}
    return Found("python_indexes", {name: url for name, (url, _) in there.items()}, "", details) if there else None


def python_version(of: Reading) -> Found | None:
    backend = of.project.backend
    for wanted in backend.pythons if backend else ():
        if wanted.series:
            return Found("python_version", wanted.series, f"{wanted.place}: {wanted.specifier}")
        if wanted.least > SYSTEM_PYTHON:
            return Found("python_version", ".".join(map(str, wanted.least)), f"{wanted.place}: {wanted.specifier}")
    return None


def backend_workers(of: Reading) -> Found | None:
    backend = of.project.backend
    return Found("backend_workers", 1, "{1}: {0}".format(*backend.alone)) if backend and backend.alone else None


def backend_paths(of: Reading) -> Found | None:
    """With a frontend: the backend's paths, by their first part."""
    backend, frontend = of.project.backend, of.project.frontend
    if not backend or not frontend or not backend.paths or backend.serves_frontend:
        return None
    taken = frontend.assets.strip("/").partition("/")[0]
    by_first: dict[str, list[str]] = {}
    for path, where in backend.paths:
        first = path.strip("/").partition("/")[0]
        if first and "{" not in first and first != taken and re.fullmatch(r"[\w.~@+-]+", first):
            by_first.setdefault(first, []).append(where)
    if (prefix := stripped(of)) and prefix.strip("/") not in by_first:
        of_proxies = (str(place) for path, place in of.project.api.stripped if path == prefix)
        where = next(of_proxies, f"{backend.app.file}, root_path of FastAPI before 0.109")
        return Found("backend_paths", [f"{prefix}/ -> /"], f"{where}: {prefix} is stripped")
    order = sorted(by_first, key=lambda first: (first != "api", first))
    details = {f"/{first}/": _some(by_first[first]) for first in order}
    own = [
        backend.root_path + path
        for path in (*(one.path for one in backend.routes.docs), backend.routes.openapi)
        if path
    ]
    hidden = [path for path in dict.fromkeys(own) if path.strip("/").partition("/")[0] not in by_first]
    docs = f"{', '.join(map(literal, hidden))},  # FastAPI's own pages, made public"
    return Found("backend_paths", [*details], "", details, (docs,) if hidden else ()) if details else None


def _some(wheres: list[str]) -> str:
    """The place of the first of several, and their number."""
    return wheres[0] + (f", and {len(wheres) - 1} more" if wheres[1:] else "")


def backend_health_path(of: Reading) -> Found | None:
    if not (backend := of.project.backend):
        return None
    if health := backend.routes.health():
        path = backend.root_path + health.path
        return Found("backend_health_path", path, f"{health.place}: GET {health.path}")
    for asked, place in backend.checked_paths:
        if route := backend.routes.get(asked):
            return Found("backend_health_path", backend.root_path + route.path, f"{place}: a health check requests it")
    return Found("backend_health_path", "", "found no health path: any answer counts as healthy")


def nginx_login_path(of: Reading) -> Found | None:
    backend = of.project.backend
    if not backend or not (login := backend.routes.login()) or "{" in login.path:
        return None
    path = backend.root_path + login.path
    # A visitor's path includes the stripped prefix.
    prefix = stripped(of) if of.project.frontend else ""
    return Found("nginx_login_path", f"{prefix}{path}", f"{login.place}: POST {login.path}")


def nginx_docs_paths(of: Reading) -> Found | None:
    """Where FastAPI's pages are elsewhere than usual: they load scripts that the site's own pages may not."""
    backend = of.project.backend
    prefix = stripped(of) if of.project.frontend else ""
    begin = prefix + (backend.root_path if backend else "")
    docs = {f"{begin}{one.path}": one.place for one in backend.routes.docs} if backend else {}
    usual = Settings.model_fields["nginx_docs_paths"].get_default(call_default_factory=True)
    if not {*docs} - {*usual}:
        return None
    return Found("nginx_docs_paths", [*docs], "", {path: str(place) for path, place in docs.items()})


def shared_paths(of: Reading) -> Found | None:
    """The folders that the backend writes to, and those that it serves but the repository lacks."""
    if not (backend := of.project.backend):
        return None
    found: dict[str, str] = {}
    for one in backend.written:
        if one.path.startswith("/") and one.env:
            found.setdefault(kept_name(one.path), f"{one.place}, by {one.env}")
        elif one.path and is_inside(one.path) and not holds_code(of, one.path):
            found.setdefault(one.path, f"{one.place} writes to it")
    for its in backend.served:
        place = posixpath.normpath(posixpath.join(backend.source, its.path))
        is_there = is_of_frontend(of, its.path) or of.repository.is_folder(place)
        if is_inside(its.path) and not is_there:
            found.setdefault(its.path, f"{its.place} serves it, and it is not in the repository")
    names = [path for path in found if not any(path.startswith(f"{other}/") for other in found)]
    return Found("shared_paths", names, "", {path: found[path] for path in names}) if names else None


def is_of_frontend(of: Reading, path: str) -> bool:
    """Whether a path of the backend is in the frontend's build, which it serves."""
    backend, frontend = of.project.backend, of.project.frontend
    if not backend or not frontend or not backend.serves_frontend:
        return False
    return is_within(posixpath.normpath(posixpath.join(backend.source, path)), frontend.target)


def is_inside(path: str) -> bool:
    """Whether a path is below the backend's folder, as shared_paths requires."""
    parts = path.split("/")
    return bool(re.fullmatch(r"[\w.@+/-]+", path)) and not {"", ".", ".."} & {*parts} and parts[0] != ".venv"


def holds_code(of: Reading, path: str) -> bool:
    """Whether a folder of the backend has modules, so that releases can't share it."""
    backend = of.project.backend
    folder = posixpath.normpath(posixpath.join(backend.source if backend else "", path))
    return any(file.endswith(".py") for file in of.repository.below(folder))


def shared_files(of: Reading) -> Found | None:
    """Written files in a folder with code, or in the backend's top folder."""
    backend = of.project.backend
    own = [one for one in backend.written if not one.path or holds_code(of, one.path)] if backend else []
    files = {posixpath.join(one.path, one.file): f"{one.place} writes to it" for one in own if one.file}
    names = {file: where for file, where in files.items() if is_inside(file)}
    return Found("shared_files", [*names], "", names) if names else None


def services(of: Reading) -> Found | None:
    """What runs beside the backend."""
    beside = of.project.backend.workers if of.project.backend else []
    found = [({"name": one.name, "command": one.command}, str(one.place)) for one in beside]
    found += [pages] if (pages := pages_service(of)) else []
    listed = [one for one, _ in found]
    return Found("services", listed, "; ".join(where for _, where in found)) if found else None


# --- Its environment --------------------------------------------------------------------------------------------------


def backend_environment(of: Reading) -> Found | None:
    its, backend = of.environment, of.project.backend
    path = backend.python_path if backend else ""
    if not its.values and not its.optional and not its.missing and not path:
        return None
    values = {name: value for name, (value, _) in its.values.items()}
    details = {name: where for name, (_, where) in its.values.items()}
    if path:
        values["PYTHONPATH"], details["PYTHONPATH"] = path, "imported from there"
    more = [f'"{one.name}": "...",  # {one.place}: required, value unknown' for one in its.missing]
    return Found("backend_environment", values, "", details, (*more, *its.optional))


def backend_secrets(of: Reading) -> Found | None:
    its = of.environment
    if not its.secrets and not its.optional_secrets:
        return None
    return Found("backend_secrets", [*its.secrets], "", its.secrets, tuple(its.optional_secrets))


def generated_secrets(of: Reading) -> Found | None:
    """Signing keys, for which any random text will do."""
    if not of.environment.generated:
        return None
    names = [MONGODB_ADMIN, MONGODB_BACKEND, *of.environment.generated]
    return Found("generated_secrets", names, "random texts, generated on the server if not provided")


def mongodb_database(of: Reading) -> Found | None:
    backend = of.project.backend
    found = backend.mongo.database if backend else None
    return Found("mongodb_database", found[0], str(found[1])) if found else None


def valkey(of: Reading) -> Found | None:
    backend = of.project.backend
    if not backend:
        return None
    how = "uses Redis, whose protocol Valkey speaks"
    if "Redis" in backend.servers and (name := valkey_variable(backend)):
        return Found("valkey", True, f"{backend.servers['Redis']}: {how}; {name} has its URL")
    for name, place in backend.celery.items():
        return Found("valkey", True, f"{place}: Celery {how}; {name} has its URL")
    return None


TABLE: dict[str, Callable[[Reading], Found | None]] = {
    "admin_keys": admin_keys,
    "backend_source": backend_source,
    "backend_app": backend_app,
    "backend_requirements": backend_requirements,
    "backend_build": backend_build,
    "python_indexes": python_indexes,
    "extra_packages": extra_packages,
    "python_version": python_version,
    "backend_workers": backend_workers,
    "backend_paths": backend_paths,
    "backend_health_path": backend_health_path,
    "nginx_login_path": nginx_login_path,
    "nginx_docs_paths": nginx_docs_paths,
    "shared_paths": shared_paths,
    "shared_files": shared_files,
    "mongodb_database": mongodb_database,
    "backend_environment": backend_environment,
    "backend_secrets": backend_secrets,
    "generated_secrets": generated_secrets,
    "valkey": valkey,
    "services": services,
    "frontend_source": frontend_source,
    "frontend_build": frontend_build,
    "frontend_output": frontend_output,
    "frontend_assets": frontend_assets,
}
