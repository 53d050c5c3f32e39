"""The backend's units: those that last, and those that run in a release alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import host

from slipway.facts import Machine
from slipway.operations import put_all, put_template, render
from slipway.settings import Settings
from tasks.credentials import credential_names


def service_file(settings: Settings) -> str:
    return f"/etc/systemd/system/{settings.backend_unit}.service"


def describe_service(settings: Settings, values: Mapping[str, Any]) -> Any:
    return put_template(
        service_file(settings),
        "backend/backend.service",
        values,
        name="Describe the backend's service",
        proven_by=f"{settings.backend_unit}.service",
    )


def describe_for_releases(settings: Settings, values: Mapping[str, Any]) -> None:
    put_all(name="Describe the units of a release", files=release_units(settings, values))


def unit_values_here(settings: Settings) -> dict[str, Any]:
    memory_mb = memory_max_mb(settings, int(host.get_fact(Machine)["memory_mb"]))
    return unit_values(settings, memory_mb, database_is_here="db" in host.groups)


def memory_max_mb(settings: Settings, memory_mb: int) -> int:
    """The memory that the backend may take, in MiB: as set, or 4/10 of the host's."""
    return settings.backend_memory_max_mb or memory_mb * 4 // 10


def unit_values(settings: Settings, memory_max_mb: int, database_is_here: bool) -> dict[str, Any]:
    """What the backend's units are rendered with."""
    return {
        "settings": settings,
        "unit": settings.backend_unit,
        "release": "current",
        "is_next": False,
        "socket": settings.backend_socket(),
        "credentials": credential_names(settings),
        "database_is_here": database_is_here,
        "memory_max_mb": memory_max_mb,
    }


def release_units(settings: Settings, values: Mapping[str, Any]) -> dict[str, str]:
    """The units that run in a release alone, by their files' paths."""
    folder, unit = "/etc/systemd/system", f"{settings.backend_unit}-next"
    its = {**values, "unit": unit, "release": "next", "is_next": True, "socket": settings.backend_socket(is_next=True)}
    files = {f"{folder}/{unit}.{kind}": render(f"backend/backend.{kind}", **its) for kind in ("socket", "service")}
    for when, command in (("before", settings.release_before), ("after", settings.release_after)):
        unit = f"{settings.backend_unit}-{when}"
        hook = {**its, "unit": unit, "when": when, "command": quoted_for_systemd(command or "true")}
        files[f"{folder}/{unit}.service"] = render("backend/hook.service", **hook)
    return files


def quoted_for_systemd(text: str) -> str:
    """One argument of ExecStart=. https://www.freedesktop.org/software/systemd/man/252/systemd.service.html#Command%20lines"""
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(character, escaped)
    return f'"{text}"'
