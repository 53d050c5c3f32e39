"""The previous backend's data: the database that it uses, and the files that it writes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from slipway.adoption import Obstacle, mongod, setting
from slipway.adoption.network import listeners
from slipway.secrets.store import MONGO_URL, MONGODB_BACKEND
from slipway.settings import members
from slipway.settings.environment import Value, environment_of, is_secret, names_in, text_of
from slipway.settings.model import Settings

# Variables of a process that name folders which are not the application's.
NO_STORES = re.compile(
    r"\w*HOME|PWD|OLDPWD|SHELL|PATH|PYTHON\w*|VIRTUAL_ENV|XDG_\w+|NVM_\w+|PM2_\w+|\w+_DIRECTORY|TMPDIR"
)
MAX_SHOWN = 10


def is_theirs(earlier: Mapping[str, str], site: Settings) -> bool:
    """Whether the site's folder is still that of the previous backend."""
    return "backend -> current/backend" not in earlier.get(f"folder {site.site_root}", "")


# --- The database ----------------------------------------------------------------------------------------------------


def databases(earlier: Mapping[str, str], data: Mapping[str, Any], site: Settings) -> Iterator[Obstacle]:
    """MongoDBs and databases by the previous backend's variables that the next one would not use. `data` is
    facts.MongodbData, `{}` if no mongod runs."""
    if MONGO_URL in site.backend_secrets or not is_theirs(earlier, site):
        return
    ours = environment_of(site, site.backend)
    known = {name for one in members.members_of(site) for name in (one.name, one.host, one.address)} | {*site.domains}
    port = mongod.place(earlier, site)[1]
    named: dict[str, list[str]] = {}
    for line in earlier.get(f"databases {site.site_root}", "").splitlines():
        variable, hosts, far, database = line.split(" ")
        is_given = hosts != "-" and not _is_made(variable, ours, {site.mongodb_local, *known})
        if is_given or variable in site.backend_secrets:
            continue
        named.setdefault(database, []).append(variable)
        away = [host for host in far.split(",") if host != "-" and _name_of(host) not in known]
        other = _other_port(hosts, port, earlier)
        if away or other:
            found = f"a MongoDB on {', '.join(away) or f'port {other}'}, which Slipway's backend would not use"
            need = f"{variable} in backend_secrets if its data stay there, or its data in this server's (mongorestore)"
            yield Obstacle(f"{site.backend_unit}.service: {variable}", found, need)
    yield from _hidden(named, data.get("documents", {}), site)


def _is_made(variable: str, ours: Mapping[str, Value], places: Collection[str]) -> bool:
    """Whether a variable leads the next backend to Slipway's MongoDB, or is missing in its environment."""
    value = ours.get(variable, ())
    return not value or MONGODB_BACKEND in names_in(value) or (not is_secret(value) and text_of(value, {}) in places)


def _hidden(named: Mapping[str, list[str]], documents: Mapping[str, int], site: Settings) -> Iterator[Obstacle]:
    """Databases with data that the previous backend names, beside the one that the next uses."""
    if not documents.get(site.mongodb_database):
        # mongod.data_obstacles names them all.
        return
    for database, variables in named.items():
        if documents.get(database) and database != site.mongodb_database:
            by = ", ".join("its code" if one == "code" else one for one in dict.fromkeys(variables))
            found = f"{documents[database]} documents in it and {site.backend_unit}.service using it (by {by})"
            need = setting("mongodb_database", database)
            if site.mongodb_database in named:
                need += f", or all data in {site.mongodb_database}: Slipway's backend may use one database"
            yield Obstacle(f"database {database}", found, need)


def _name_of(host: str) -> str:
    return host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _other_port(hosts: str, port: int, earlier: Mapping[str, str]) -> str:
    """The port of another MongoDB of this server than at `port`, "" if nothing listens there."""
    if hosts == "-" or "%" in hosts:
        return ""
    listening = {str(one.port) for one in listeners(earlier)}
    ports = [host.rpartition("]")[2].partition(":")[2] or "27017" for host in hosts.split(",")]
    return next((one for one in ports if one != str(port) and one in listening), "")


# --- Files -----------------------------------------------------------------------------------------------------------


def written(earlier: Mapping[str, str], site: Settings) -> Iterator[Obstacle]:
    """Files next to the previous backend's code that it seems to write."""
    if not is_theirs(earlier, site):
        return
    stores, shown = [path for _, path in _stores(earlier, site)], 0
    for file in earlier.get(f"written {site.site_root}", "").splitlines():
        inner = file.removeprefix(f"{site.site_root}/backend/")
        if shown == MAX_SHOWN or any(f"{inner}/".startswith(f"{path}/") for path in site.shared_places):
            continue
        if inner == file and not _is_below(file, stores):
            found = "a file that the backend seems to write, in a folder that Slipway's backend does not use"
            need = f"it copied below {site.site_root}/backend, and its folder in shared_paths"
            yield Obstacle(file, found, need)
        elif inner != file:
            found = "a file that the backend seems to write, next to its code, which will be read-only"
            yield Obstacle(file, found, _where(inner))
        shown += 1


def _where(inner: str) -> str:
    folder = re.sub(r"(^|/)(uploads|media)/.*", r"\1\2", inner)
    folder = str(PurePosixPath(inner).parent) if folder == inner else folder
    if folder == "." or re.search(r"\.(db|sqlite[^/]*)$", inner):
        return f'"{inner}" in shared_files'
    return f'"{folder}" in shared_paths if it holds no code, or "{inner}" in shared_files'


def stores(earlier: Mapping[str, str], site: Settings) -> Iterator[Obstacle]:
    """Folders outside of the site that the previous backend may write to, and the next could not."""
    reasons: dict[str, list[str]] = {}
    for reason, path in _stores(earlier, site) if is_theirs(earlier, site) else []:
        reasons.setdefault(path, []).append(reason)
    for path, found in [*reasons.items()][:MAX_SHOWN]:
        if _is_below(str(PurePosixPath(path).parent), reasons):
            continue
        said = {"code": "its code names", "open": "its processes write to", "newer": "its user writes to"}
        why = ", ".join(said.get(reason, f"{reason} names") for reason in dict.fromkeys(found))
        if path.startswith("/var/log/"):
            need = "a log to standard output, which the journal keeps"
        else:
            name = PurePosixPath(path).name
            new = f"{site.site_root}/backend/{name}"
            which = "shared_files" if re.search(r"\.(db|sqlite[^/]*)$", name) else "shared_paths"
            need = f'it below the backend (mv {path} {new} && ln -s {new} {path}) and "{name}" in {which}'
        yield Obstacle(path, f"a place that {why}, and that Slipway's backend could not write to", need)


def _stores(earlier: Mapping[str, str], site: Settings) -> list[tuple[str, str]]:
    """Their reasons and paths, without those that settings replace: a variable that leads to another place."""
    ours = environment_of(site, site.backend)
    found = []
    for line in earlier.get(f"stores {site.site_root}", "").splitlines():
        reason, _, path = line.partition(" ")
        if NO_STORES.fullmatch(reason):
            continue
        if reason == "newer" or (reason == "open" and not re.search(r"\.(db|sqlite[^/]*|log)$", path)):
            path = str(PurePosixPath(path).parent)
        is_moved = reason in ours and not names_in(ours[reason]) and path not in text_of(ours[reason], {})
        if not is_moved:
            found.append((reason, path))
    return found


def _is_below(path: str, folders: Collection[str]) -> bool:
    return any(f"{path}/".startswith(f"{folder}/") for folder in folders)
