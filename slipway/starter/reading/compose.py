"""Reads what a repository's compose files tell: the servers of its containers, and where their Dockerfiles are."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import yaml

from slipway.starter.reading.files import Place, Repository, folder_of, line_of

PATTERNS = ("docker-compose*.y*ml", "compose*.y*ml")


def _services(repository: Repository) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The file, the name and the options of each service."""
    for file in repository.files:
        if not any(fnmatch(file.rpartition("/")[2], pattern) for pattern in PATTERNS):
            continue
        try:
            # Texts alone: a stranger's file may have any tag.
            read = yaml.load(repository.read(file) or "", yaml.BaseLoader)  # noqa: S506
        except (yaml.YAMLError, RecursionError, ValueError):
            continue
        services = read.get("services") if isinstance(read, dict) else None
        for name, its in services.items() if isinstance(services, dict) else ():
            if isinstance(name, str) and isinstance(its, dict):
                yield file, name, its


def hosts(repository: Repository) -> set[str]:
    """The names by which containers reach each other, and their addresses."""
    found: set[str] = set()
    for _, name, its in _services(repository):
        found |= {name, str(its.get("container_name", "")), str(its.get("hostname", ""))}
        networks = its.get("networks")
        for options in networks.values() if isinstance(networks, dict) else ():
            if isinstance(options, dict):
                aliases = options.get("aliases")
                found |= {str(options.get("ipv4_address", ""))}
                found |= {str(alias) for alias in (aliases if isinstance(aliases, list) else ())}
    return found - {""}


def environment(repository: Repository) -> dict[str, str]:
    """The variables of the containers, and of their builds, with values."""
    found: dict[str, str] = {}
    for _, _, its in _services(repository):
        build = its.get("build")
        for given in (its.get("environment"), build.get("args") if isinstance(build, dict) else None):
            pairs = given.items() if isinstance(given, dict) else ()
            listed = (str(one).partition("=")[::2] for one in (given if isinstance(given, list) else ()))
            for name, value in (*pairs, *listed):
                # "${NAME:-value}"
                default = re.fullmatch(r"\$\{\w+:?-([^{}]*)\}", str(value))
                found.setdefault(str(name), default[1] if default else str(value))
    return found


def dockerfiles(repository: Repository) -> Iterator[str]:
    """The Dockerfiles that services are built by."""
    for file, _, its in _services(repository):
        build = its.get("build")
        if isinstance(build, dict) and isinstance(name := build.get("dockerfile"), str):
            context = build.get("context")
            folder = posixpath.join(folder_of(file), context if isinstance(context, str) else ".")
            place = posixpath.normpath(posixpath.join(folder, name))
            if not place.startswith(("/", "../")) and "$" not in place:
                yield place


@dataclass(frozen=True)
class Service:
    """A service that is built in the repository. `context` and `dockerfile` are paths in it; `command` is "" if the
    Dockerfile has it. `is_once`: it ends, or others wait for its end."""

    file: str
    name: str
    context: str
    dockerfile: str
    command: str
    is_once: bool


def built(repository: Repository) -> Iterator[Service]:
    listed = [*_services(repository)]
    awaited = set[tuple[str, str]]()
    for file, _, its in listed:
        needed = its.get("depends_on")
        for name, how in needed.items() if isinstance(needed, dict) else ():
            if isinstance(how, dict) and how.get("condition") == "service_completed_successfully":
                awaited.add((file, str(name)))
    for file, name, its in listed:
        build = its.get("build")
        context = build.get("context", ".") if isinstance(build, dict) else build
        if not isinstance(context, str) or "$" in context:
            continue
        folder = posixpath.normpath(posixpath.join(folder_of(file), context))
        dockerfile = str(build.get("dockerfile", "Dockerfile")) if isinstance(build, dict) else "Dockerfile"
        place = posixpath.normpath(posixpath.join(folder, dockerfile))
        words = [its.get(key) for key in ("entrypoint", "command")]
        parts = [shlex.join(map(str, one)) if isinstance(one, list) else str(one or "") for one in words]
        is_once = (file, name) in awaited or its.get("restart") == "no"
        yield Service(file, name, folder.removeprefix("."), place, " ".join(filter(None, parts)), is_once)


_CHECKED = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::[\w${}:-]+)?(/[\w./-]*)")


def checked_paths(repository: Repository) -> Iterator[tuple[str, Place]]:
    """The paths that the health checks of containers request."""
    for file, _, its in _services(repository):
        check = its.get("healthcheck")
        test = check.get("test") if isinstance(check, dict) else None
        for path in _CHECKED.findall(" ".join(map(str, test)) if isinstance(test, list) else str(test)):
            text = repository.read(file) or ""
            yield path, Place(file, line_of(text, max(text.find(path, max(text.find("healthcheck"), 0)), 0)))
    for file in repository.files:
        if "dockerfile" in file.rpartition("/")[2].lower():
            text = repository.read(file) or ""
            for check in re.finditer(r"^\s*HEALTHCHECK\b(?:[^\n]*\\\n)*[^\n]*", text, re.MULTILINE):
                for match in _CHECKED.finditer(check[0]):
                    yield match[1], Place(file, line_of(text, check.start() + match.start()))


def is_at(value: str, names: set[str]) -> bool:
    """Whether a text is the address of one of some hosts: its name, with or without a port, or a URL."""
    if len(value) > 300 or not names:
        return False
    host = re.fullmatch(r"(?:[\w+]+://)?(?:[^@/\s]*@)?([\w.-]+)(?::\d+)?(?:[/?].*)?", value)
    return host is not None and host[1] in names
