"""A site's services, the FastAPI backend first: their system user, units and secrets.

Releases install their code (tasks/release.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption.network import listeners
from slipway.engine import notes, run
from slipway.engine.components import Drift, component, component_step
from slipway.facts.base import Output
from slipway.ops.backup import KEPT
from slipway.ops.commands import Commands, ensure
from slipway.ops.units import Ready, know, restart, restarts, service
from slipway.secrets.store import MONGO_URL, how_to_give
from slipway.settings import environment
from slipway.settings.balancing import AUTHORITY_FILE
from slipway.settings.model import Settings
from slipway.settings.services import Service
from slipway.tasks import python_environment, release_copy, shared
from slipway.tasks.adoption import imported
from slipway.tasks.adoption_facts import earlier
from slipway.tasks.backend_by_hand import keep_serving
from slipway.tasks.backend_units import (
    FOLDER,
    all_units,
    called,
    describe_for_releases,
    describe_program,
    describe_socket,
    describe_timer,
    described_by,
    has_timer,
    scheduled_on,
    unit_values_here,
)
from slipway.tasks.credentials import remove_unused, sync_credentials
from slipway.tasks.mongodb_members import NAMES_UNIT, names_at_boot
from slipway.tasks.mongodb_set import name_member
from slipway.tasks.release import healthy, shipped
from slipway.tasks.release_steps import PROGRAM, step_seconds

PACKAGES = [*python_environment.PACKAGES]


def ports(settings: Settings) -> dict[int, str]:
    return {int(settings.backend_listen.rpartition(":")[2]): "systemd"} if settings.backend_is_tcp else {}


def units(settings: Settings) -> list[str]:
    return [*_units(settings)]


def _units(settings: Settings) -> Iterator[str]:
    for one in settings.all_services:
        unit = settings.unit(one)
        if one.is_web:
            yield from (f"{unit}.socket", f"{unit}.service")
        elif one.is_worker:
            yield f"{unit}.service"
        elif has_timer(settings, one):
            yield f"{unit}.timer"


def health(settings: Settings) -> dict[str, str]:
    return {f"{settings.unit(one)}.service": healthy(settings, one) for one in settings.web_services}


def problems(settings: Settings) -> list[str]:
    """What prevents a backend on this host."""
    is_elsewhere = "mongodb" not in run.of(host.state).deployed
    return [
        f"{MONGO_URL}: found no value for {site.site_name}, need one, as deploy.py leaves out mongodb (name it in"
        f" backend_secrets: {how_to_give(MONGO_URL, site.secrets_file)})"
        for site in settings.all_sites
        if is_elsewhere and MONGO_URL not in site.backend_secrets
    ] + [problem for site in settings.all_sites for problem in problems_of_first_release(site)]


def problems_of_first_release(settings: Settings) -> list[str]:
    """What prevents a site's first release; none if it has one, or if the existing code becomes it."""
    if "backend" in imported(settings) or shipped(settings):
        return []
    found = [f"dependencies of {settings.site_name}: {line}" for line in python_environment.problems(settings)]
    return [*found, *release_copy.problems(settings)]


def drifts(settings: Settings) -> dict[str, Drift]:
    unit, folder = settings.backend_unit, settings.credentials_folder
    file, secret = described_by(settings, settings.backend), [*settings.backend_secrets, MONGO_URL][0]
    configured, started = "Configure the backend", "Start the backend"
    return {
        "the secrets made readable": Drift(f"chmod 755 {folder}", "Install the backend's secrets"),
        "a secret nobody needs": Drift(f"cp -p {folder}/{secret} {folder}/OLD", "Remove unused secrets"),
        "a secret gone": Drift(f"rm {folder}/{secret}"),
        "the backend stopped": Drift(f"systemctl stop {unit}.socket {unit}", started),
        "the backend hangs": Drift(f"pkill --signal STOP --uid {unit}", started),
        "the backend masked": Drift(
            f"systemctl stop {unit}; rm {file}; systemctl mask {unit}.service",
            configured,
            # The first of the two compared plans requests the open socket, which makes it fail for the second.
            is_compared=False,
        ),
        "the backend masked, its socket stopped": Drift(
            f"systemctl stop {unit}.socket {unit}; ln -sf /dev/null {file}; systemctl daemon-reload"
        ),
        "a unit edited": Drift(f"sed -i 's/--workers 2/--workers 1/' {file}", configured),
        "the backend's limit removed": Drift(f"sed -i /MemoryMax/d {file}", configured),
        "the backend's user can log in": Drift(
            f"usermod --shell /bin/bash {unit}", "Disable logins of the backend's user"
        ),
        "the backend's socket edited": Drift(f"echo '# edited' >> {FOLDER}/{unit}.socket"),
        "the backend disabled": Drift(f"systemctl disable {unit}.service {unit}.socket"),
    }


@component(
    roles=("app",),
    per_site=True,
    needs=("release",),
    early_packages=PACKAGES,
    repositories=python_environment.repositories,
    ports=ports,
    units=units,
    health=health,
    preflight=problems,
    drifts=drifts,
)
def backend(settings: Settings) -> None:
    """All services of a site."""
    unit = settings.backend_unit
    create_user("the backend", unit)
    ensure(
        name="Disable logins of the backend's user",
        check=f"case $(getent passwd {unit}) in *:/usr/sbin/nologin) ;; *) false ;; esac",
        command=f"usermod --shell /usr/sbin/nologin {unit}",
    )
    shared.keep(name="Create the folders that stay", settings=settings)
    if not _takes_its_port(settings):
        keep_serving(name="Keep the previous backend running", settings=settings)
    secrets = sync_credentials(name="Install the backend's secrets", settings=settings)
    values = unit_values_here(settings)
    programs = {one.name: describe_program(settings, one, values) for one in settings.all_services}
    sockets = {one.name: hold_socket(settings, one, values) for one in settings.web_services}
    ensure(
        name="Finish an interrupted release",
        check=settled(settings),
        command=f"{PROGRAM} {settings.site_name} settle",
        note="an interrupted release is still active",
        seconds=step_seconds(settings),
    )
    for one in settings.web_services:
        # Another instance serves visitors during the restart.
        verbs = ("cover", "uncover", "watch")
        before, after, watch = (f"{PROGRAM} {settings.site_name} {verb} {one.name}" for verb in verbs)
        seconds = settings.health_setting(one, "seconds")
        ready = Ready(healthy(settings, one), one.health_seconds, seconds, before, after, is_calm=True, watch=watch)
        keep_running(settings, one, ready, (sockets[one.name], secrets, programs[one.name]))
    for one in settings.services:
        if one.is_worker:
            keep_running(settings, one, None, (secrets, programs[one.name]))
        elif has_timer(settings, one):
            run_by_clock(settings, one, values)
    # Only after the services have started with it: a release must not use a configuration that failed.
    describe_for_releases(settings, values)
    remove_unused(name="Remove unused secrets", settings=settings)


def create_user(whose: str, name: str) -> None:
    """A system user and its group, without a login."""
    ensure(
        name=f"Create {whose}'s user",
        check=f"getent passwd {name}",
        # Otherwise login.defs says whether there is a group.
        command="useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin"
        f" {name}",
        note=f"user {name}: new",
    )


def _needs_names(settings: Settings) -> bool:
    """Whether a backend reaches MongoDB on other hosts, by the names of its members."""
    is_apart = "db" not in host.groups and bool(settings.mongodb_replica_set)
    return is_apart and any(MONGO_URL not in site.backend_secrets for site in settings.all_sites)


def _takes_its_port(settings: Settings) -> bool:
    """Whether the previous backend listens on the port of Slipway's, so that both can't run at once."""
    port = int(settings.backend_listen.rpartition(":")[2]) if settings.backend_is_tcp else 0
    unit = f"{settings.backend_unit}.service"
    return any(one.port == port and one.unit == unit for one in listeners(earlier(settings)))


def hold_socket(settings: Settings, one: Service, values: Mapping[str, Any]) -> Any:
    unit = settings.unit(one)
    described = describe_socket(settings, one, values)
    # The service must release the socket before it can be recreated.
    restart(
        name=f"Restart the socket of {called(one)}",
        unit=f"{unit}.socket",
        stop=f"{unit}.service",
        _if=restarts(described),
    )
    service(name=f"Start the socket of {called(one)}", unit=f"{unit}.socket")
    return described


def keep_running(settings: Settings, one: Service, ready: Ready | None, causes: tuple[Any, ...]) -> None:
    unit = f"{settings.unit(one)}.service"
    restart(name=f"Restart {called(one)}", unit=unit, ready=ready, _if=restarts(*causes))
    secrets = [f"{settings.credentials_folder}/{file}" for file in environment.credentials_of(settings, one).values()]
    files = [*secrets, described_by(settings, one), f"{settings.site_root}/current"]
    if environment.talks_by_tls(settings):
        # Drivers read it as they start.
        files.append(AUTHORITY_FILE)
    service(name=f"Start {called(one)}", unit=unit, ready=ready, files=files)


def run_by_clock(settings: Settings, one: Service, values: Mapping[str, Any]) -> None:
    unit = f"{settings.unit(one)}.timer"
    described = describe_timer(settings, one, values)
    restart(name=f"Restart the timer of {called(one)}", unit=unit, _if=described.did_change)
    know(name=f"Reload systemd for {called(one)}", unit=f"{settings.unit(one)}.service")
    service(name=f"Start the timer of {called(one)}", unit=unit)


def settled(settings: Settings) -> str:
    """A shell test: no release was interrupted, and Nginx's sockets are those of the services themselves."""
    nexts = [f"{settings.unit(one)}-next.{kind}" for one in settings.web_services for kind in ("service", "socket")]
    tests = [f"[ ! -L {settings.site_root}/next ]", f"! systemctl is-active --quiet {' '.join(nexts)}"]
    for one in settings.web_services:
        if not settings.is_tcp(one):
            there = f'[ "$(readlink {settings.listen(one)})" = {settings.socket(one)} ]'
            tests.append(f"{{ {there} || ! systemctl is-active --quiet {settings.unit(one)}.socket; }}")
    return " && ".join(tests)


@component_step(before="backend")
def name_database(settings: Settings) -> None:
    """Where MongoDB is on other hosts, the names of its members, now and at each boot."""
    if not _needs_names(settings):
        return
    name_member(settings)
    started = [unit for site in settings.all_sites for unit in all_units(site) if unit.endswith(".service")]
    names_at_boot(settings, started)


@component_step(after="backend")
def retire_services(settings: Settings) -> None:
    """Remove services that are no longer configured, of all sites."""
    retire(name="Remove services that are no longer configured", settings=settings)


@operation()
def retire(settings: Settings) -> Commands:
    wanted = {unit for site in settings.all_sites for unit in all_units(site)}
    if _needs_names(settings):
        wanted.add(NAMES_UNIT)
    # Each of Slipway's units for a site has this marker.
    command = f"cd {FOLDER} && grep -l -s '^# Slipway: a unit of a site$' *.service *.socket *.timer"
    gone = sorted({*host.get_fact(Output, command=command).split()} - wanted)
    if not gone:
        return
    elsewhere = {
        f"{site.unit(one)}.timer": f"; {where} runs it"
        for site in settings.all_sites
        for one in site.services
        if (where := scheduled_on(site, one))
    }
    notes.note("\n".join(f"{unit}: removed{elsewhere.get(unit, '')}" for unit in gone))
    units = " ".join(map(shlex.quote, gone))
    yield (
        f"systemctl disable --quiet --now {units} 2> /dev/null; cd {FOLDER} && rm -f {units} && systemctl daemon-reload"
        # A later unit of the same name must not be rolled back to this one.
        f" && if cd {KEPT} 2> /dev/null; then rm -rf {units}; fi"
    )
