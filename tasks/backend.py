"""A site's services, the FastAPI backend first: their system user, units and secrets.

Their code comes with a release (tasks/release.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.components import component
from slipway.facts.base import Output
from slipway.ops.backup import KEPT
from slipway.ops.commands import Commands, ensure
from slipway.ops.units import Ready, know, restart, restarts, service
from slipway.settings.model import Settings
from slipway.settings.services import Service
from slipway.tasks import environment
from slipway.tasks.backend_units import (
    FOLDER,
    all_units,
    called,
    describe_for_releases,
    describe_program,
    describe_socket,
    describe_timer,
    described_by,
    unit_values_here,
)
from slipway.tasks.credentials import credential_names, sync_credentials
from slipway.tasks.release import healthy
from slipway.tasks.release_steps import PROGRAM

PACKAGES = [*environment.PACKAGES]


@component
def backend(settings: Settings) -> None:
    """All services of a site."""
    unit = settings.backend_unit
    ensure(
        name="Create the backend's user",
        check=f"getent passwd {unit}",
        command=f"useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin {unit}",
        note=f"user {unit}: new",
    )
    ensure(
        name="Disable logins of the backend's user",
        check=f"case $(getent passwd {unit}) in *:/usr/sbin/nologin) ;; *) false ;; esac",
        command=f"usermod --shell /usr/sbin/nologin {unit}",
    )
    secrets = sync_credentials(name="Install the backend's secrets", settings=settings)
    values = unit_values_here(settings)
    programs = {one.name: describe_program(settings, one, values) for one in settings.all_services}
    sockets = {one.name: hold_socket(settings, one, values) for one in settings.web_services}
    ensure(
        name="Finish an interrupted release",
        check=settled(settings),
        command=f"{PROGRAM} {settings.site_name} settle",
        note="an interrupted release is still active",
    )
    for one in settings.web_services:
        ready = Ready(healthy(settings, one), one.health_seconds, settings.health_setting(one))
        run(settings, one, ready, (sockets[one.name], secrets, programs[one.name]))
    for one in settings.services:
        if one.is_worker:
            run(settings, one, None, (secrets, programs[one.name]))
        elif one.schedule:
            run_by_clock(settings, one, values)
    # Not before the services have come up with it: a release must not be tried with what they did not take.
    describe_for_releases(settings, values)


def hold_socket(settings: Settings, one: Service, values: Mapping[str, Any]) -> Any:
    unit = settings.unit(one)
    described = describe_socket(settings, one, values)
    # The service must let go of the socket before the socket can be made anew.
    restart(
        name=f"Restart the socket of {called(one)}",
        unit=f"{unit}.socket",
        stop=f"{unit}.service",
        _if=restarts(described),
    )
    service(name=f"Start the socket of {called(one)}", unit=f"{unit}.socket")
    return described


def run(settings: Settings, one: Service, ready: Ready | None, causes: tuple[Any, ...]) -> None:
    unit = f"{settings.unit(one)}.service"
    restart(name=f"Restart {called(one)}", unit=unit, ready=ready, _if=restarts(*causes))
    secrets = [f"{settings.credentials_folder}/{name}" for name in credential_names(settings)]
    files = [*secrets, described_by(settings, one), f"{settings.site_root}/current"]
    service(name=f"Start {called(one)}", unit=unit, ready=ready, files=files)


def run_by_clock(settings: Settings, one: Service, values: Mapping[str, Any]) -> None:
    unit = f"{settings.unit(one)}.timer"
    described = describe_timer(settings, one, values)
    restart(name=f"Restart the timer of {called(one)}", unit=unit, _if=described.did_change)
    know(name=f"Reload systemd for {called(one)}", unit=f"{settings.unit(one)}.service")
    service(name=f"Start the timer of {called(one)}", unit=unit)


def settled(settings: Settings) -> str:
    """A shell test: no release was cut off, and Nginx is led to the services themselves."""
    nexts = [f"{settings.unit(one)}-next.{kind}" for one in settings.web_services for kind in ("service", "socket")]
    tests = [f"[ ! -L {settings.site_root}/next ]", f"! systemctl is-active --quiet {' '.join(nexts)}"]
    for one in settings.web_services:
        if not settings.is_tcp(one):
            there = f'[ "$(readlink {settings.listen(one)})" = {settings.socket(one)} ]'
            tests.append(f"{{ {there} || ! systemctl is-active --quiet {settings.unit(one)}.socket; }}")
    return " && ".join(tests)


@component
def retire_services(settings: Settings) -> None:
    """Services that are set no longer, of all sites."""
    retire(name="Remove services that are no longer configured", settings=settings)


@operation()
def retire(settings: Settings) -> Commands:
    wanted = {unit for site in settings.all_sites for unit in all_units(site)}
    # By what each unit of ours that runs a site's program or holds its socket says.
    command = f"cd {FOLDER} && grep -l -s '^# Slipway: a unit of a site$' *.service *.socket *.timer"
    gone = sorted({*host.get_fact(Output, command=command).split()} - wanted)
    if not gone:
        return
    notes.note("\n".join(f"{unit}: removed" for unit in gone))
    units = " ".join(map(shlex.quote, gone))
    yield (
        f"systemctl disable --quiet --now {units} 2> /dev/null; cd {FOLDER} && rm -f {units} && systemctl daemon-reload"
        # One of this name that comes later is another.
        f" && if cd {KEPT} 2> /dev/null; then rm -rf {units}; fi"
    )
