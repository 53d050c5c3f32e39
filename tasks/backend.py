"""The FastAPI backend: a system user, two units, its secrets. Its code comes with a release (tasks/release.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import host

from slipway.components import component
from slipway.facts import Machine
from slipway.operations import ensure, put_all, put_template, render, restart, service
from slipway.settings import Settings
from tasks.credentials import credential_names, hand_over
from tasks.release import healthy, steps_file

PACKAGES = ["curl", "python3", "python3-venv"]


@component
def backend(settings: Settings) -> None:
    unit = settings.backend_unit
    names, described = credential_names(settings), f"/etc/systemd/system/{unit}.service"
    ensure(
        name="Create the backend's user",
        check=f"getent passwd {unit}",
        command=f"useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin {unit}",
        note=f"user {unit}: new",
    )
    ensure(
        name="Keep the backend's user from logging in",
        check=f"case $(getent passwd {unit}) in *:/usr/sbin/nologin) ;; *) false ;; esac",
        command=f"usermod --shell /usr/sbin/nologin {unit}",
    )
    secrets = hand_over(name="Hand the backend its secrets", settings=settings)
    memory_mb = memory_max_mb(settings, int(host.get_fact(Machine)["memory_mb"]))
    values = unit_values(settings, memory_mb, database_is_here="db" in host.groups)
    socket = put_template(
        f"/etc/systemd/system/{unit}.socket",
        "backend/backend.socket",
        values,
        name="Describe the backend's socket",
        proven_by=f"{unit}.service",
    )
    program = put_template(
        described,
        "backend/backend.service",
        values,
        name="Describe the backend's service",
        proven_by=f"{unit}.service",
    )
    put_all(name="Describe the units of a release", files=release_units(settings, values))
    # The service must let go of the socket before the socket can be made anew.
    restart(name="Open the backend's socket anew", unit=f"{unit}.socket", stop=f"{unit}.service", _if=socket.did_change)
    service(name="Hold the backend's socket", unit=f"{unit}.socket")
    ensure(
        name="Finish a release that was interrupted",
        check=settled(settings),
        command=f"{steps_file(settings)} settle",
        note=f"{unit}-next still runs, or Nginx is led to it",
    )
    restart(
        name="Restart the backend",
        unit=f"{unit}.service",
        ready=healthy(settings),
        _if=lambda: socket.did_change() or secrets.did_change() or program.did_change(),
    )
    service(
        name="Run the backend",
        unit=f"{unit}.service",
        ready=healthy(settings),
        files=[
            *(f"{settings.credentials_folder}/{name}" for name in names),
            *(described, f"{settings.site_root}/current"),
        ],
    )


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


def settled(settings: Settings) -> str:
    """A shell test: no release is under way, and Nginx is led to the backend itself."""
    unit = settings.backend_unit
    alone = f"! systemctl is-active --quiet {unit}-next.service {unit}-next.socket"
    if settings.backend_is_tcp:
        return alone
    there = f'[ "$(readlink {settings.backend_listen})" = {settings.backend_socket()} ]'
    return f"{alone} && {{ {there} || ! systemctl is-active --quiet {unit}.socket; }}"
