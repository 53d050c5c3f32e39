"""The FastAPI backend: a system user, two units, its secrets. Its code comes with a release (tasks/release.py)."""

from __future__ import annotations

from slipway.components import component
from slipway.operations import ensure, put_template, restart, service
from slipway.settings import Settings
from tasks.backend_units import describe_for_releases, describe_service, service_file, unit_values_here
from tasks.credentials import credential_names, hand_over
from tasks.release import healthy, steps_file

PACKAGES = ["curl", "python3", "python3-venv"]


@component
def backend(settings: Settings) -> None:
    unit = settings.backend_unit
    names, described = credential_names(settings), service_file(settings)
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
    values = unit_values_here(settings)
    socket = put_template(
        f"/etc/systemd/system/{unit}.socket",
        "backend/backend.socket",
        values,
        name="Describe the backend's socket",
        proven_by=f"{unit}.service",
    )
    program = describe_service(settings, values)
    describe_for_releases(settings, values)
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


def settled(settings: Settings) -> str:
    """A shell test: no release is under way, and Nginx is led to the backend itself."""
    unit = settings.backend_unit
    alone = f"! systemctl is-active --quiet {unit}-next.service {unit}-next.socket"
    if settings.backend_is_tcp:
        return alone
    there = f'[ "$(readlink {settings.backend_listen})" = {settings.backend_socket()} ]'
    return f"{alone} && {{ {there} || ! systemctl is-active --quiet {unit}.socket; }}"
