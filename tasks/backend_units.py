"""The units of a site's services: the permanent ones, and those that run only during a release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import host

from slipway.facts.machine import Machine
from slipway.ops.files import put, put_all, put_template
from slipway.ops.templates import render
from slipway.settings import environment
from slipway.settings.model import Settings
from slipway.settings.services import Service
from slipway.tasks.release_steps import LAUNCHER, SERVE_PORT

FOLDER = "/etc/systemd/system"
# Imports an application and exits, whether or not that fails, without waiting for the threads that it has started.
IMPORTING = (
    "import os, sys; sys.excepthook = lambda *error: (sys.__excepthook__(*error), os._exit(1));"
    " from uvicorn.importer import import_from_string; import_from_string('{}');"
    " sys.stdout.flush(); sys.stderr.flush(); os._exit(0)"
)


def called(service: Service) -> str:
    return "the backend" if service.name == "backend" else f"the service {service.name}"


def described_by(settings: Settings, service: Service) -> str:
    """The unit file of a service."""
    return f"{FOLDER}/{settings.unit(service)}.service"


def describe_program(settings: Settings, service: Service, values: Mapping[str, Any]) -> Any:
    """A service's unit file; the previous one is restored if the service fails to start."""
    unit = settings.unit(service)
    return put_template(
        described_by(settings, service),
        "backend/backend.service" if service.is_web else "backend/worker.service",
        of_service(settings, service, values),
        name=f"Configure {called(service)}",
        # A scheduled service need not run now.
        rollback_unit=None if service.schedule else f"{unit}.service",
    )


def describe_socket(settings: Settings, service: Service, values: Mapping[str, Any]) -> Any:
    return put_template(
        f"{FOLDER}/{settings.unit(service)}.socket",
        "backend/backend.socket",
        of_service(settings, service, values),
        name=f"Configure the socket of {called(service)}",
        rollback_unit=f"{settings.unit(service)}.service",
    )


def describe_timer(settings: Settings, service: Service, values: Mapping[str, Any]) -> Any:
    return put(
        path=f"{FOLDER}/{settings.unit(service)}.timer",
        content=render("backend/worker.timer", **of_service(settings, service, values)),
        name=f"Configure the timer of {called(service)}",
        check=f"systemd-analyze calendar '{service.schedule}' > /dev/null",
    )


def describe_for_releases(settings: Settings, values: Mapping[str, Any]) -> None:
    put_all(name="Configure the release's units", files=release_units(settings, values))


def scheduled_on(settings: Settings, service: Service) -> str:
    """The host that runs a schedule which others have, too: the first of the inventory, whatever the run is limited to.
    "" if each runs it."""
    apps = settings.peers_with("app")
    return apps[0].name if service.schedule and service.schedule_on == "first" and len(apps) > 1 else ""


def has_timer(settings: Settings, service: Service) -> bool:
    """Whether this host runs the service by the clock."""
    where = scheduled_on(settings, service)
    return bool(service.schedule) and (not where or bool(settings.here and settings.here.name == where))


def unit_values_here(settings: Settings) -> dict[str, Any]:
    memory_mb = memory_max_mb(settings, int(host.get_fact(Machine)["memory_mb"]))
    return unit_values(settings, memory_mb, database_is_here="db" in host.groups)


def memory_max_mb(settings: Settings, memory_mb: int) -> int:
    """The memory limit of a service without its own, in MiB: the backend's, or 4/10 of the host's memory."""
    return settings.backend_memory_max_mb or memory_mb * 4 // 10


def unit_values(settings: Settings, memory_max_mb: int, database_is_here: bool) -> dict[str, Any]:
    """The template values common to the units of all services."""
    return {"settings": settings, "database_is_here": database_is_here, "memory_max_mb": memory_max_mb}


def of_service(settings: Settings, service: Service, values: Mapping[str, Any]) -> dict[str, Any]:
    """The template values of a service's units."""
    plain = environment.plain_of(settings, service)
    credentials = environment.credentials_of(settings, service)
    as_variables = credentials and settings.backend_secrets_delivery == "environment"
    return {
        **values,
        "service": service,
        "unit": settings.unit(service),
        "release": "current",
        "is_next": False,
        "is_tcp": settings.is_tcp(service),
        "socket": settings.socket(service),
        "listen": settings.listen(service),
        "environment": [quoted_for_systemd(f"{name}={value}", in_command=False) for name, value in plain.items()],
        "credentials": credentials,
        # The prefix of the service's command.
        "launcher": f"{LAUNCHER} " if as_variables else "",
        "memory_max_mb": service.memory_max_mb or values["memory_max_mb"],
        # Where it is signalled alone, the main process is the program and not its shell.
        "command": quoted_for_systemd(
            f"exec {service.command.removeprefix('exec ')}" if service.ends_its_processes else service.command
        ),
        "port": service.ports[0] if service.ports else 0,
        "serve_port": SERVE_PORT,
        "importing": quoted_for_systemd(IMPORTING.format(service.app.removesuffix("()"))),
    }


def release_units(settings: Settings, values: Mapping[str, Any]) -> dict[str, str]:
    """The units that run only during a release, by path."""
    files: dict[str, str] = {}
    for service in settings.web_services:
        unit = f"{settings.unit(service)}-next"
        its = {
            **of_service(settings, service, values),
            **{"unit": unit, "release": "next", "is_next": True, "is_tcp": False},
            "socket": settings.socket(service, is_next=True),
            "port": service.ports[1] if service.ports else 0,
        }
        files |= {f"{FOLDER}/{unit}.{kind}": render(f"backend/backend.{kind}", **its) for kind in ("socket", "service")}
    for when, command in (("before", settings.pre_activate), ("after", settings.post_activate)):
        its = {**of_service(settings, settings.backend, values), "unit": f"{settings.backend_unit}-{when}"}
        its |= {"release": "next", "when": when, "command": quoted_for_systemd(command or "true")}
        files[f"{FOLDER}/{settings.backend_unit}-{when}.service"] = render("backend/hook.service", **its)
    return files


def all_units(settings: Settings) -> list[str]:
    """The names of all unit files of a site."""
    names = [f"{settings.backend_unit}-{when}.service" for when in ("before", "after")]
    for service in settings.all_services:
        unit = settings.unit(service)
        if service.is_web:
            names += [f"{unit}{end}.{kind}" for end in ("", "-next") for kind in ("socket", "service")]
        else:
            names += [f"{unit}.service", *([f"{unit}.timer"] if has_timer(settings, service) else [])]
    return names


def quoted_for_systemd(text: str, in_command: bool = True) -> str:
    """Quote one argument of ExecStart=, or one assignment of Environment=, where a dollar sign is literal.
    https://www.freedesktop.org/software/systemd/man/252/systemd.service.html#Command%20lines
    https://www.freedesktop.org/software/systemd/man/252/systemd.syntax.html#Quoting
    """
    escapes = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t"} | ({"$": "$$"} if in_command else {})
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'
