"""Notes about the frontend: what will not work, where it was found, and how to fix it."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

from slipway.settings import frontend_tool
from slipway.starter.detect_frontend import api_prefix, has_static_files, pages_server, stripped
from slipway.starter.found import Reading
from slipway.starter.reading.frontend import is_no_site

# Of the same kind of note.
MAX_NOTES = 5
MAX_NAMES = 8


def about_handlers(of: Reading) -> Iterator[str]:
    """The paths that the program that makes the pages answers, but Nginx would proxy to the backend."""
    backend = of.project.backend
    if not backend or backend.serves_frontend or stripped(of):
        return
    paths = [path for path, _ in backend.paths]
    for first in dict.fromkeys(f"/{path.split('/')[1]}/" for path in paths):
        here = {path: place for path, place in of.project.api.handlers.items() if f"{path}/".startswith(first)}
        own = {"/".join(path.split("/")[:3]) for path in paths if path.startswith(first)}
        own -= {"/".join(path.split("/")[:3]) for path in here}
        if here:
            listed = f": {', '.join(repr(f'{one}/') for one in sorted(own))}" if own else ""
            yield (
                f"{next(iter(here.values()))}: the frontend answers {', '.join([*here][:MAX_NAMES])} itself, but"
                f" backend_paths proxies {first} to the backend; list the backend's own paths there{listed}"
            )


def about_own_pages(of: Reading) -> Iterator[str]:
    """The build in git that the backend serves, or that Nginx replaces."""
    own = of.project.backend.own_pages if of.project.backend else None
    if own and (other := of.project.replaced):
        folder = shlex.quote(of.relative(other.folder))
        yield (
            f"{own.other_place}: the backend answers {own.other} and serves {own.folder}, a build in git, which a new"
            f" one at / would not fit: commit a new build there before a release; to have {other.folder or '.'} built"
            f" for Nginx instead, start over with slipway init --set frontend_source={folder}"
        )
    elif own and (frontend := of.project.frontend):
        yield (
            f"{own.place}: serves {own.folder}, a build in git; Nginx serves a new one of {frontend.folder or '.'}"
            ' instead; to keep that in git, set frontend_source = ""'
        )


def about_frontend(of: Reading) -> Iterator[str]:
    frontend = of.project.frontend
    if not frontend:
        return
    sites = [one for one in of.project.other_frontends if not is_no_site(one.folder)]
    # Beside a site that a tool builds, a package that a script builds is a library.
    own_script = "a script of its own"
    kinds = [one for one in sites if one.tool != own_script or frontend.tool == own_script]
    for other in kinds[:MAX_NOTES]:
        yield (
            f"{other.place}: another frontend; frontend_source names the one to serve, and a further one is another"
            " site (slipway help releases, Several sites on a host)"
        )
    is_static = has_static_files(of)
    # The backend serves the build where it is.
    yield from (text for text in frontend.problems if is_static or "the build is written to" not in text)
    server = pages_server(of)
    wanted = frontend_tool.node_versions(str(of.repository.top / frontend.folder))
    if newer := server.needs_newer(wanted) if server else "":
        yield f"{frontend.place}: {frontend.tool} needs Node.js {newer} on the server; Debian 12 has 18, 13 has 20"
    if frontend.manager not in ("", "npm") and not shutil.which(frontend.manager):
        where, fix = frontend.lock or frontend.place.file, frontend.installation
        yield f"{where}: {frontend.manager} is not installed on this machine, which builds; {fix}"
    domain, prefix = str(of.answers.get("site_domain", "DOMAIN")), api_prefix(of)
    setting = "frontend_build" if is_static else "backend_build"
    if of_server := of.project.api.of_server:
        names = ", ".join([*of_server][:MAX_NAMES]) + (", ..." if of_server.keys() - [*of_server][:MAX_NAMES] else "")
        yield (
            f"{next(iter(of_server.values()))}: the server of the pages reads {names}: set what it needs in its"
            " environment (services), secrets in backend_secrets"
        )
    if unset := of.project.api.unset:
        names = ", ".join([*unset][:MAX_NAMES]) + (", ..." if len(unset) > MAX_NAMES else "")
        file = f"{frontend.folder}/.env.production".lstrip("/")
        yield f"{next(iter(unset.values()))}: built without a value: {names}: set them in {setting} or {file}"
    for one in of.project.api.variables:
        if one.is_local:
            found = f"is {one.value!r} ({one.value_place})" if one.value else "has no value for production"
            yield f"{one.place}: {one.name} {found}; {setting} sets it to {one.public(domain, prefix)}"
    for one in of.project.api.variables:
        if (host := one.other_host) and host != domain and not one.is_local:
            yield (
                f"{one.place}: {one.name} is {one.value!r} ({one.value_place}), which is not this site; if it is,"
                f" add {one.name}={one.public(domain, prefix)} to {setting}"
            )
    for address, place in of.project.api.fixed[:MAX_NOTES]:
        yield f"{place}: {address!r} is the visitor's own machine; {_instead(of, address)}"
    if (more := len(of.project.api.fixed) - MAX_NOTES) > 0:
        yield f"{frontend.folder or '.'}: {more} more addresses of the visitor's own machine"
    others = [one for one in of.project.api.elsewhere if urlsplit(one[0]).hostname != domain]
    for address, place in others[:MAX_NOTES] if of.project.backend else ():
        yield f"{place}: {address!r} is not this site; if it is the API, {_instead(of, address)}"
    for port, is_plain, place in of.project.api.ports[:MAX_NOTES]:
        yield f"{place}: port {port} of the site is closed for visitors; leave it out{', and use wss:' * is_plain}"


def _instead(of: Reading, address: str) -> str:
    """What to request instead of an address in the code."""
    path = re.sub(r"^\w+://[^/]*", "", address)
    begin = stripped(of)
    own = path if f"{path}/".startswith(f"{begin}/") else f"{begin}{path}"
    # What comes after it begins with a slash.
    return f"request {own!r}" if own else "use '' instead of it"
