"""Alarms: the host checks itself twice a minute, and reports failures and recoveries by e-mail and webhooks. No process
stays in memory between two checks."""

from __future__ import annotations

import json

from pyinfra import host
from pyinfra.api import operation

from slipway.alarms import checks, messages, problems, storage, updates
from slipway.alarms import host as alarms_host
from slipway.alarms import program as alarms_program
from slipway.alarms.host import Facts, Site
from slipway.engine import notes, run
from slipway.engine.components import Component, Drift, component, component_step, registry
from slipway.facts import mongodb_protocol
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.ops.files import absent, put, put_all
from slipway.ops.templates import render
from slipway.ops.units import know, service
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings import alarms as alarm_settings
from slipway.settings.model import Settings
from slipway.settings.of_host import data_folders
from slipway.tasks import authority
from slipway.tasks.credentials import host_secrets
from slipway.tasks.release_steps import FOLDER, place_of, text_of

PACKAGES = ["python3", "openssl"]
PROGRAM, FACTS = f"{FOLDER}/alarms", f"{FOLDER}/alarms.json"
UNITS = "/etc/systemd/system"
SERVICE, TIMER = f"{UNITS}/slipway-alarms.service", f"{UNITS}/slipway-alarms.timer"
# What a failed unit starts. Not the service: systemd warns at each start of one that several units have in OnFailure=,
# so twice a minute ("multiple trigger source candidates").
AT_ONCE = f"{UNITS}/slipway-alarms-at-once.timer"
# For all services of the host; and of the same name, in its place, for this one, which must not start itself. An empty
# OnFailure= takes nothing back. https://www.freedesktop.org/software/systemd/man/252/systemd.unit.html#Examples
ON_FAILURE, NOT_OF_ITSELF = f"{UNITS}/service.d/slipway-alarms.conf", f"{SERVICE}.d/slipway-alarms.conf"
# Of earlier versions, in the place of NOT_OF_ITSELF.
EARLIER = f"{SERVICE}.d/zz-not-of-itself.conf"
MODULES = (alarms_host, checks, messages, problems, storage, updates, mongodb_protocol)


def is_wanted(settings: Settings) -> bool:
    return bool(settings.alarm_mail_to or settings.alarm_webhooks or settings.alarm_heartbeat)


def drifts(settings: Settings) -> dict[str, Drift]:
    return {
        "alarms disabled": Drift("systemctl disable --now slipway-alarms.timer", "Start the alarms' timer"),
        "the alarms' program edited": Drift(f"echo '# edited' >> {PROGRAM}", "Install the alarms' program"),
        "recipients of alarms changed": Drift(f"sed -i 's/mail_to/mail_for/' {FACTS}", "Configure the alarms"),
        "failed units send no alarm": Drift(f"rm {ON_FAILURE}; systemctl daemon-reload", "Configure the alarms' units"),
    }


@component(
    wanted=is_wanted,
    packages=PACKAGES,
    units=("slipway-alarms.timer",),
    reports={"alarms": f"{PROGRAM} tell"},
    drifts=drifts,
)
def alarms(settings: Settings) -> None:
    host_secrets(name="Install the alarms' secrets", settings=settings, names=_secrets(settings))
    put_all(
        name="Install the modules of the alarms' program",
        files={place_of(module): text_of(module) for module in MODULES},
    )
    put(
        name="Install the alarms' program",
        path=PROGRAM,
        content=text_of(alarms_program),
        mode="755",
        check="{} --help > /dev/null",
    )
    put(name="Configure the alarms", path=FACTS, content=json.dumps(facts(settings)._asdict(), indent=2) + "\n")
    put_all(name="Configure the alarms' units", files=unit_files(settings))
    absent(name="Remove what kept the alarms from starting themselves before", path=EARLIER)
    know(name="Reload systemd for the alarms", unit="slipway-alarms.service")
    # Of ON_FAILURE systemd says it of another service: of this one NOT_OF_ITSELF is in its place.
    know(name="Reload systemd for what a failed unit starts", unit="systemd-journald.service")
    service(name="Start the alarms' timer", unit="slipway-alarms.timer")


def facts(settings: Settings) -> Facts:
    """The program's configuration: what this host's components declare, and the sites that it serves."""
    here = [one for one in _components() if one.is_on(host.groups, settings)]
    is_public = bool({"lb", "web"} & {*host.groups}) and settings.is_public
    services = {
        f"{site.unit(one)}.service": site
        for site in settings.all_sites
        for one in site.all_services
        if one.is_web and one.health_path and not site.is_tcp(one)
    }
    return Facts(
        host=settings.site_domain if host.name == settings.site_domain else f"{host.name} ({settings.site_domain})",
        credentials=settings.credentials_folder,
        mail_to=settings.alarm_mail_to,
        mail_from=settings.alarm_mail_from,
        smtp=settings.alarm_smtp,
        smtp_security=settings.alarm_smtp_security,
        smtp_user=settings.alarm_smtp_user,
        webhooks=dict(settings.alarm_webhooks),
        heartbeat=settings.alarm_heartbeat,
        sites=[_site(one) for one in settings.all_sites] if is_public else [],
        units=[*dict.fromkeys(unit for one in here for unit in one.listed(one.units, settings))],
        # A request through Nginx tests more of a backend than one at its socket.
        health={
            unit: test
            for one in here
            for unit, test in one.mapped(one.health, settings).items()
            if unit not in services or not is_public
        },
        disk_percent=settings.alarm_disk_percent,
        errors_percent=settings.alarm_errors_percent,
        memory_percent=settings.alarm_memory_percent,
        logins=settings.alarm_logins,
        mongodb=[settings.mongodb_local, settings.mongodb_port, settings.mongodb_admin_user]
        if _has_oplog(settings)
        else [],
        slow_per_minute=settings.alarm_slow_per_minute,
        server_certificates=authority.files(settings),
        folders=data_folders(settings, host.groups),
    )


def _has_oplog(settings: Settings) -> bool:
    return "db" in host.groups and bool(settings.mongodb_replica_set)


def _components() -> list[Component]:
    """The components of this host, without the alarms themselves."""
    return [registry[name] for name in sorted(run.of(host.state).deployed) if name != "alarms" and name in registry]


def _secrets(settings: Settings) -> list[str]:
    return alarm_settings.secret_names(lambda name: getattr(settings, name))


def _site(settings: Settings) -> Site:
    backend = settings.backend
    return Site(
        domain=settings.site_domain,
        health=(backend.health_path or "") if backend.is_web else "",
        certificate=settings.tls_folder,
        maintenance=f"{settings.site_root}/maintenance",
    )


def unit_files(settings: Settings) -> dict[str, str]:
    values = {
        "program": PROGRAM,
        "secrets": [*_secrets(settings), *([MONGODB_ADMIN] if _has_oplog(settings) else [])],
        "folder": settings.credentials_folder,
    }
    return {
        SERVICE: render("alarms/slipway-alarms.service", **values),
        TIMER: render("alarms/slipway-alarms.timer"),
        AT_ONCE: render("alarms/slipway-alarms-at-once.timer"),
        ON_FAILURE: "# By Slipway: what fails is told at once.\n[Unit]\nOnFailure=slipway-alarms-at-once.timer\n",
        NOT_OF_ITSELF: "# By Slipway: the alarms don't start themselves.\n",
    }


@component_step(after="alarms")
def switch_off(settings: Settings) -> None:
    stop_unwanted(name="Stop alarms where nobody is told any more", settings=settings)


@operation()
def stop_unwanted(settings: Settings) -> Commands:
    """Stop the timer if no recipient is configured any more."""
    if is_wanted(settings):
        return
    files = (SERVICE, TIMER, AT_ONCE, ON_FAILURE, NOT_OF_ITSELF, EARLIER)
    there = host.get_fact(Output, command=f"ls {' '.join(files)} 2> /dev/null").split()
    if not there:
        return
    notes.note("slipway-alarms.timer: stopped and disabled")
    yield f"systemctl disable --quiet --now slipway-alarms.timer; rm -f {' '.join(there)}; systemctl daemon-reload"
