"""Derives the settings of a frontend: static files, or a program that makes the pages, as a service."""

from __future__ import annotations

import posixpath
import shlex
from typing import Any

from slipway.settings import frontend_tool
from slipway.starter.found import Found, Reading
from slipway.starter.reading.frontend import Frontend
from slipway.starter.reading.pages_server import PagesServer


def stripped(of: Reading) -> str:
    """The prefix that a proxy strips for the backend, which has no routes below it; "" for none."""
    backend = of.project.backend
    if backend and backend.has_stripped_root:
        return backend.routes.root_path.rstrip("/")
    firsts = {path.strip("/").partition("/")[0] for path, _ in backend.paths} if backend else set()
    return next((path for path, _ in of.project.api.stripped if path.strip("/") not in firsts), "")


def api_prefix(of: Reading) -> str:
    """The prefix of the API's paths for visitors, if the frontend does not set it itself."""
    prefix = stripped(of)
    return "" if prefix == "/api" and of.project.api.asks_below_api else prefix


def pages_server(of: Reading) -> PagesServer | None:
    """The program that makes the frontend's pages. It needs a backend, whose release it is a part of."""
    frontend = of.project.frontend
    return frontend.server if frontend and of.project.backend else None


def has_static_files(of: Reading) -> bool:
    """Whether Nginx serves the frontend, rather than a program."""
    backend = of.project.backend
    return bool(of.project.frontend) and not pages_server(of) and not (backend and backend.serves_frontend)


def backend_build(of: Reading) -> Found | None:
    """The build of the program that makes the pages, or of the pages that the backend serves itself."""
    backend, frontend, server = of.project.backend, of.project.frontend, pages_server(of)
    if not backend or not frontend or has_static_files(of):
        return None
    folder = shlex.quote(posixpath.relpath(frontend.folder or ".", backend.source or "."))
    if server:
        command, copy = _with_variables(of, frontend, frontend.build, server.variables), server.copy
        where = f"{frontend.place}: {frontend.tool}, as the service web runs it"
    else:
        command = _with_variables(of, frontend, frontend.own_build)
        place = shlex.quote(posixpath.relpath(frontend.target, backend.source or "."))
        built = shlex.quote(posixpath.relpath(frontend.target, frontend.folder or "."))
        copy = f"mkdir -p $OUTPUT/{place} && cp -R {built}/. $OUTPUT/{place}/"
        where = f"{frontend.place}: {frontend.tool}, whose pages the backend serves"
    steps = [*([f"cd {folder}"] if folder != "." else []), command, copy]
    return Found("backend_build", " && ".join(steps), where)


def pages_service(of: Reading) -> tuple[dict[str, Any], str] | None:
    """The service that makes the pages, and where it was found."""
    frontend, server = of.project.frontend, pages_server(of)
    if not frontend or not server:
        return None
    local = [one for one in of.project.api.variables if one.is_local]
    environment = {
        "NODE_ENV": "production",
        **server.environment,
        **{one.name: one.public("{site_domain}", api_prefix(of)) for one in local},
    }
    web: dict[str, Any] = {"name": "web", "command": server.command, "listen": 3000, "path": "/"}
    web |= {"health_path": server.health_path, "health_status": 0}
    if environment:
        web["environment"] = environment
    if not of.project.api.of_server:
        # Those of the backend, the database's password among them.
        web["secrets"] = []
    return web, f"{frontend.place}: {frontend.tool} makes the pages at request time"


def frontend_source(of: Reading) -> Found | None:
    if (frontend := of.project.frontend) and not has_static_files(of):
        who = "the service web makes the pages" if pages_server(of) else "the backend serves the pages itself"
        return Found("frontend_source", "", f"{frontend.place}: {who}")
    if frontend := of.project.frontend:
        how = f"a build by {frontend.tool}" if frontend.manager else "pages without a build"
        return Found("frontend_source", of.relative(frontend.folder), f"{frontend.place}: {how}")
    if (backend := of.project.backend) and of.project.replaced and (own := backend.own_pages):
        return Found("frontend_source", "", f"{own.place}: the backend serves {own.folder}, a build in git")
    return Found("frontend_source", "", "no package.json with a build script") if of.project.backend else None


def frontend_build(of: Reading) -> Found | None:
    """Only if it would not be found by default, or needs the API's address."""
    if not (frontend := of.project.frontend) or not has_static_files(of):
        return None
    command = _with_variables(of, frontend, frontend.build)
    if command == frontend_tool.build_command(str(of.repository.top / frontend.folder), "local"):
        return None
    said = [f"{one.name}: {one.place}" for one in of.project.api.variables if one.is_local]
    return Found(
        "frontend_build",
        command,
        "; ".join([frontend.lock or f"{frontend.place.file}: no lock", *frontend.reasons, *said]),
    )


def _with_variables(of: Reading, frontend: Frontend, command: str, first: str = "") -> str:
    """The command of a build with variables: `first`, and those of the API's address."""
    domain = str(of.answers.get("site_domain", "DOMAIN"))
    install, _, build = command.rpartition(" && ")
    local = [one for one in of.project.api.variables if one.is_local]
    given = [f"{one.name}={shlex.quote(one.public(domain, api_prefix(of)))}" for one in local]
    words = " ".join([*([first] if first else []), *given, build])
    return " && ".join(part for part in (install, words) if part)


def frontend_output(of: Reading) -> Found | None:
    frontend = of.project.frontend if has_static_files(of) else None
    if not frontend or frontend.output in ("", frontend_tool.output(str(of.repository.top / frontend.folder))):
        return None
    return Found("frontend_output", frontend.output, f"{frontend.tool} writes to it")


def frontend_assets(of: Reading) -> Found | None:
    frontend = of.project.frontend if has_static_files(of) else None
    source = str(of.repository.top / frontend.folder) if frontend else ""
    if not frontend or frontend.assets in ("", frontend_tool.assets(source, frontend.output)):
        return None
    return Found("frontend_assets", frontend.assets, f"{frontend.tool}'s files with a hash in their names")
