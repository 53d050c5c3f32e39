"""The services of a site: programs of its backend, each a unit of systemd of its own.

Three kinds: one that answers requests (`app`, run by uvicorn), a worker (`command`, which runs on and on), and one that
runs by the clock (`command` with a `schedule`). All run the code of the current release, in its Python environment.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from slipway.settings.routes import EXPECTED, overlaps, route
from slipway.settings.types import (
    A_DOMAIN,
    ALL,
    DOMAIN,
    MIN_SERVICE_MB,
    Check,
    EnvName,
    EnvText,
    HealthPath,
    MemoryLimit,
    PlainLine,
    Seconds,
    Section,
    Unit,
    Words,
    matching,
)

# What a release calls its own units of a site.
TAKEN = {"backend", "next", "before", "after"}


class Service(BaseModel):
    """Keys of a service

    A service either answers requests (`app`), or runs permanently (`command`), or runs on a schedule (`command` with
    `schedule`).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    name: Annotated[str, matching(r"[a-z](-?[a-z0-9]){0,15}", "at most 16 lower-case letters, digits, dashes")]
    """Names its unit, `SITE-NAME`."""

    app: Annotated[
        str,
        matching(
            r"([\w.]+:[\w.]+(\(\))?)?", 'module:attribute as "auth.main:app", or a factory as "auth.main:create_app()"'
        ),
    ] = ""
    """What uvicorn runs to answer requests. It needs `path` or `host`, and `health_path`."""

    command: PlainLine = ""
    """What runs instead, such as `"python -m mailer"`."""

    schedule: Annotated[str, matching(r"[\w*.,:/~ +-]*", 'a time of systemd.time(7) as "*-*-* 03:00" or "hourly"')] = ""
    # Whether it is one, the host's systemd says before it is in force.
    """When `command` runs; `""` for permanently."""

    path: Annotated[str, Check(lambda value: not value or route(value), EXPECTED)] = ""
    """The URL path of `app`, in the notation of `backend_paths`, which the backend no longer gets."""

    host: Annotated[str, matching(rf"({DOMAIN})?", A_DOMAIN)] = ""
    """The host name of `app`, instead of a path."""

    workers: Annotated[int, Field(ge=1, le=64), Unit("processes")] = 1
    """Number of uvicorn workers."""

    environment: Annotated[dict[EnvName, EnvText], Words("dictionary of variable name to text")] = {}
    """Environment variables, as `backend_environment`, over those that it has from there."""

    secrets: Annotated[list[EnvName] | None, Words("list of names, or None")] = None
    """The names in `backend_secrets` that it gets, and of `backend_environment` only values with no other secret in
    them; None for all."""

    memory_max_mb: MemoryLimit = 0
    """Memory limit, as `backend_memory_max_mb`."""

    tasks_max: Annotated[int, Field(ge=16, le=100_000), Unit("processes and threads")] = 512
    """Maximum number of processes and threads."""

    health_path: Annotated[HealthPath | None, Words('a URL path that begins with "/", or ""')] = None
    """As `backend_health_path`."""

    health_status: Annotated[int, Field(ge=200, le=599)] = 200
    """As `backend_health_status`."""

    health_body: PlainLine = ""
    """As `backend_health_body`."""

    health_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """As `backend_health_seconds`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if bool(self.app) == bool(self.command):
            raise ValueError("either app, which answers requests, or command, which does not")
        if self.app and bool(self.path) == bool(self.host):
            raise ValueError("with app either path or host: where visitors reach it")
        if self.app and self.health_path is None:
            raise ValueError('with app a health_path that answers when it is well, as "/api/auth/health"')
        if self.app and self.schedule:
            raise ValueError("with schedule a command: what answers requests runs all the time")
        if self.command and (self.path or self.host or self.health_path is not None):
            raise ValueError("with command no path, host or health_path: it answers no requests")
        if 0 < self.memory_max_mb < MIN_SERVICE_MB:
            raise ValueError(f"memory_max_mb of 0, or at least {MIN_SERVICE_MB}")
        return self

    @property
    def health_is_any(self) -> bool:
        """Whether any answer below 500 counts as a healthy one."""
        return not self.health_path

    @property
    def asked_path(self) -> str:
        """The path that is asked for its health."""
        return self.health_path or "/"

    @property
    def is_worker(self) -> bool:
        return bool(self.command) and not self.schedule


class Services(Section):
    """Services

    Further programs of the site, of the backend's code: [releases.md](releases.md#several-services).
    """

    per_site = ALL

    services: list[Service] = Field([])
    """Each is a dictionary with the keys below:
    `{"name": "auth", "app": "auth.main:app", "path": "/api/auth/", "health_path": "/api/auth/health"}`.
    Release the code of a new service before the `slipway apply` that routes requests to it."""


def problems_among(services: list[Service], taken: Mapping[str, str], hosts: Mapping[str, str]) -> list[str]:
    """What is wrong with services beside each other; `taken` has who has a location of Nginx, `hosts` a host name."""
    problems = []
    names: set[str] = set()
    hosts = {**hosts}
    for service in services:
        if service.name in TAKEN or service.name in names:
            problems.append(f"names, each once, without {', '.join(sorted(TAKEN))}; found {service.name!r} again")
        names.add(service.name)
        if service.host in hosts:
            problems.append(
                f"one service for each host; found {service.host} for {hosts[service.host]} and for {service.name}"
            )
        elif service.host:
            hosts[service.host] = service.name
    paths = overlaps([(service.name, service.path) for service in services if service.path], taken)
    return problems + [f"one service for each path; {problem}" for problem in paths]
