"""The services of a site: programs of its backend, each a unit of systemd of its own.

Three kinds: one that answers requests (`app`, run by uvicorn), a worker (`command`, which runs on and on), and one that
runs by the clock (`command` with a `schedule`). All run the code of the current release, in its Python environment.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

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
    HealthStatus,
    MemoryLimit,
    PlainLine,
    Seconds,
    Section,
    Unit,
    Words,
    matching,
)

# Programs that end their own processes: at a signal that these get as well, a task is lost.
OWN_PROCESSES = re.compile(r"(exec )?(python[\d.]* -m )?(celery|rq) [^;&|<>()`]*")

# What a release calls its own units of a site.
TAKEN = {"backend", "next", "before", "after"}


class Service(BaseModel):
    """Keys of a service

    A service either answers requests (`app`, or `command` with `listen`), or runs permanently (`command`), or runs on a
    schedule (`command` with `schedule`). It has the backend's release, Python environment, system user, sandbox,
    folders that stay, environment variables and secrets; limits, health and workers are its own.
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
    """What runs instead, such as `"python -m mailer"`, in the backend's folder."""

    listen: Annotated[int | str | None, Words('a port from 1024 to 65534, or "fd"')] = None
    """How `command` is reached, if it answers HTTP: a port of 127.0.0.1, which it finds in `PORT` (the next release
    gets the one after it); or `"fd"`, a listening socket as file descriptor 3, as systemd passes it (sd_listen_fds(3)).
    It needs `path` or `host`, and `health_path`."""

    schedule: Annotated[str, matching(r"[\w*.,:/~ +-]*", 'a time of systemd.time(7) as "*-*-* 03:00" or "hourly"')] = ""
    # Whether it is one, the host's systemd says before it is in force.
    """When `command` runs; `""` for permanently. Of several application servers the first one of the inventory runs
    it."""

    schedule_on: Literal["first", "all"] = "first"
    """Which application servers run a `schedule`: `"all"` for what each needs for itself, as tidying up its own
    disk."""

    path: Annotated[str, Check(lambda value: not value or route(value), EXPECTED)] = ""
    """Its URL path, in the notation of `backend_paths`, which the backend no longer gets; `"/"` for all that no other
    program answers."""

    host: Annotated[str, matching(rf"({DOMAIN})?", A_DOMAIN)] = ""
    """Its host name, instead of a path."""

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

    health_status: HealthStatus = 200
    """As `backend_health_status`."""

    health_body: PlainLine = ""
    """As `backend_health_body`."""

    health_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """As `backend_health_seconds`."""

    stop_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 30
    """Without `listen` and `schedule`: how long a restart, in each release, waits for the task that `command` is at. It
    gets SIGTERM first (Celery and rq end their task then), and SIGKILL after this time."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if bool(self.app) == bool(self.command):
            raise ValueError("either app, which answers requests, or command, which does not")
        if self.app and self.listen is not None:
            raise ValueError("with app no listen: uvicorn gets its socket from systemd")
        if self.listen is not None and not (self.listen == "fd" or self._is_port()):
            raise ValueError(f'with listen a port from 1024 to 65534, or "fd"; found {self.listen!r}')
        kind = "app" if self.app else "listen"
        if self.is_web and bool(self.path) == bool(self.host):
            raise ValueError(f"with {kind} either path or host: where visitors reach it")
        if self.is_web and self.health_path is None:
            raise ValueError(f'with {kind} a health_path that answers when it is well, as "/api/auth/health"')
        if self.is_web and self.schedule:
            raise ValueError("with schedule a command: what answers requests runs all the time")
        if not self.is_web and (self.path or self.host or self.health_path is not None):
            raise ValueError("with command no path, host or health_path, or listen: where it answers requests")
        if not self.is_worker and self.stop_seconds != type(self).model_fields["stop_seconds"].default:
            raise ValueError("stop_seconds with a command alone, without listen and schedule")
        if self.command and self.workers != 1:
            raise ValueError("with command no workers: it starts its own")
        if 0 < self.memory_max_mb < MIN_SERVICE_MB:
            raise ValueError(f"memory_max_mb of 0, or at least {MIN_SERVICE_MB}")
        return self

    @property
    def health_is_any(self) -> bool:
        """Whether any answer below 500 counts as a healthy one."""
        return not self.health_path or not self.health_status

    @property
    def asked_path(self) -> str:
        """The path that is asked for its health."""
        return self.health_path or "/"

    @property
    def is_web(self) -> bool:
        """Whether it answers requests."""
        return bool(self.app) or self.listen is not None

    @property
    def is_worker(self) -> bool:
        return not self.is_web and not self.schedule

    @property
    def ends_its_processes(self) -> bool:
        """Whether its main process alone is told to end."""
        return self.is_worker and bool(OWN_PROCESSES.fullmatch(self.command))

    @property
    def ports(self) -> list[int]:
        """The ports of 127.0.0.1 that it listens on, itself and as the next release."""
        return [self.listen, self.listen + 1] if isinstance(self.listen, int) else []

    def _is_port(self) -> bool:
        return type(self.listen) is int and 1024 <= self.listen < 65535


class Services(Section):
    """Services

    Further programs of the site, of the backend's code: [sites.md](sites.md#several-programs).
    """

    per_site = ALL

    services: list[Service] = Field([])
    """Each is a dictionary with the keys below:
    `{"name": "auth", "app": "auth.main:app", "path": "/api/auth/", "health_path": "/api/auth/health"}`.
    Release the code of a new service before the `slipway apply` that routes requests to it."""


def problems_among(
    services: list[Service], taken: Mapping[str, str], hosts: Mapping[str, str], ports: Mapping[int, str]
) -> list[str]:
    """What is wrong with services beside each other; `taken` has who has a location of Nginx, `hosts` a host name,
    `ports` a port of 127.0.0.1."""
    problems = []
    names: set[str] = set()
    hosts, ports = {**hosts}, {**ports}
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
        for port in service.ports:
            if port in ports:
                problems.append(f"ports that nobody else has; found {port} for {ports[port]} and for {service.name}")
            ports[port] = service.name
    paths = overlaps([(service.name, service.path) for service in services if service.path], taken)
    return problems + [f"one service for each path; {problem}" for problem in paths]
