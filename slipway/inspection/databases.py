"""Database servers: MongoDB in full, others by name and size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from slipway.facts.base import key_values
from slipway.inspection.questions import parts
from slipway.inspection.report import Database, DatabaseServer

# MongoDB's internal databases.
OWN = ("admin", "config", "local")
MIB = 2**20
ALL = "0.0.0.0"  # noqa: S104  an address that mongod may listen on


def servers(mongodb: str, others: str) -> list[DatabaseServer]:
    """The database servers, from the answers "mongodb" and "databases"."""
    return [*_mongodb(mongodb), *_others(parts(others))]


def options(text: str) -> dict[str, Any]:
    """mongod.conf as a dictionary; `{}` if it is not YAML."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def at(configuration: Mapping[str, Any], path: str) -> Any:
    """The value of a dotted option such as "net.port", None if it is not set. A file may use dotted keys too."""
    if path in configuration:
        return configuration[path]
    head, _, rest = path.partition(".")
    below = configuration.get(head)
    return at(below, rest) if rest and isinstance(below, Mapping) else below if not rest else None


def _mongodb(text: str) -> Iterator[DatabaseServer]:
    head, _, configuration = text.partition("== text")
    lines = head.split("\n")
    found = key_values(line for line in lines if not line.startswith(("argument=", "database=")))
    version = found.get("version") or found.get("installed", "")
    if not version and "running" not in found:
        return
    given = _arguments([line.removeprefix("argument=") for line in lines if line.startswith("argument=")])
    its = options(configuration)
    listed = re.findall(r"^database=(.+) (\d+)$", head, re.MULTILINE)
    known = {"on": True, "off": False}.get(found.get("authorization", ""))
    configured = at(its, "security.authorization") == "enabled" or bool(at(its, "security.keyFile"))
    data, port = found.get("data", ""), str(given.get("--port") or at(its, "net.port") or "")
    yield DatabaseServer(
        kind="MongoDB",
        version=version,
        running="running" in found,
        config=found.get("config", ""),
        data_folder=str(given.get("--dbpath") or found.get("behind") or at(its, "storage.dbPath") or "/data/db"),
        data_mb=int(data) if data.isdigit() else None,
        bind=str(given.get("--bind_ip") or at(its, "net.bindIp") or (ALL if at(its, "net.bindIpAll") else "127.0.0.1")),
        port=int(port) if port.isdigit() else 27017,
        replica_set=str(given.get("--replSet") or at(its, "replication.replSetName") or found.get("set", "")),
        authorization=known if known is not None else configured if its else None,
        package=found.get("package", ""),
        databases=[Database(name=name, mb=round(int(size) / MIB, 2)) for name, size in listed if name not in OWN],
        unseen=_unseen(found, known, str(at(its, "net.tls.mode") or at(its, "net.ssl.mode") or "")),
        by_slipway="slipway" in found,
    )


def _unseen(found: Mapping[str, str], authorization: bool | None, tls: str) -> str:
    """Why the databases are not known, "" where they are; `tls` is mongod's mode of TLS."""
    if re.search("docker|libpod", found.get("group", "")):
        return "it runs in a container"
    if "unreadable" in found:
        return f"{found['unreadable']} can't be read"
    if authorization:
        return "MongoDB requires a login"
    if "running" not in found:
        return "mongod does not run"
    if authorization is not None:
        return ""
    if tls.startswith("require"):
        return f"MongoDB answers connections with TLS only (net.tls.mode: {tls})"
    return f"MongoDB did not answer ({found.get('away', 'the host has no Python')})"


def _arguments(words: list[str]) -> dict[str, str]:
    """mongod's command-line options by name."""
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            found[name] = value if equals else following
    return found


def _others(found: dict[str, list[str]]) -> Iterator[DatabaseServer]:
    databases = []
    clusters = []
    for line in found.get("postgresql", []):
        fields = line.split()
        if fields[:1] == ["database"] and len(fields) == 3 and fields[2].isdigit():
            databases.append(Database(name=fields[1], mb=round(int(fields[2]) / MIB, 2)))
        elif len(fields) >= 6:
            clusters.append(fields)
    for version, _, port, state, _, folder in (fields[:6] for fields in clusters):
        yield DatabaseServer(
            kind="PostgreSQL",
            version=version,
            running="online" in state,
            port=int(port) if port.isdigit() else 0,
            data_folder=folder,
            databases=databases if len(clusters) == 1 else [],
        )
    for kind, part, folder in (("MySQL", "mysql", "/var/lib/mysql"), ("Redis", "redis", "/var/lib/redis")):
        its: dict[str, str] = {}
        for line in found.get(part, []):
            name, _, value = line.partition(" ")
            its.setdefault(name, value)
        if its.get("version"):
            numbers = re.search(r"\d+(\.\d+)+", its["version"])
            data = its.get("data", "").split()
            yield DatabaseServer(
                kind=kind,  # type: ignore[arg-type]
                version=numbers[0] if numbers else its["version"],
                running="active" in its.get("active", "").split(),
                data_folder=folder,
                data_mb=int(data[0]) if data and data[0].isdigit() else None,
            )
