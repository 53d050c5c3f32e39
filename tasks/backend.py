"""The FastAPI backend: a system user, two units, its secrets. Its code comes with a release (tasks/release.py)."""

from __future__ import annotations

from pyinfra import host

from slipway.components import component
from slipway.facts import Machine
from slipway.operations import ensure, put_template, restart, service
from slipway.settings import Settings
from tasks.credentials import credential_names, hand_over
from tasks.release import healthy

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
    values = {
        "settings": settings,
        "credentials": names,
        "database_is_here": "db" in host.groups,
        "memory_max_mb": memory_max_mb(settings, int(host.get_fact(Machine)["memory_mb"])),
    }
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
    # The service must let go of the socket before the socket can be made anew.
    restart(name="Open the backend's socket anew", unit=f"{unit}.socket", stop=f"{unit}.service", _if=socket.did_change)
    service(name="Hold the backend's socket", unit=f"{unit}.socket")
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
