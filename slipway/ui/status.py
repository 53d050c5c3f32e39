"""`slipway status`: what runs on the hosts and since when, at a glance. It only reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel
from pyinfra.api.host import Host

from slipway.engine import lock
from slipway.engine.components import Component
from slipway.engine.deployed import deployed
from slipway.engine.errors import failing, in_words
from slipway.engine.session import Session
from slipway.facts.certificates import is_overdue
from slipway.facts.status import Condition
from slipway.settings.model import Settings
from slipway.settings.of_host import data_folders
from slipway.ui.console import escape, plain

DAY = 86400


class Service(BaseModel):
    """A unit, and systemd's words for its state; both are "not installed" where it is not there. Whether it does its
    work is known of some: None for others."""

    unit: str
    active: str
    sub: str
    is_healthy: bool | None = None


class Disk(BaseModel):
    mount: str
    free_mb: int
    size_mb: int


class Release(BaseModel):
    id: str
    since: datetime


class Certificate(BaseModel):
    """What Nginx serves. A placeholder is self-signed, until there is a real one."""

    end: datetime
    days_left: int
    is_placeholder: bool
    # Whether it should have been renewed by now, by its own lifetime.
    is_overdue: bool = False


class Apply(BaseModel):
    """The host's own note of its last apply (slipway/engine/lock.py)."""

    when: datetime
    who: str
    version: str
    result: str
    changed: int
    seconds: float


class SiteStatus(BaseModel):
    name: str
    certificate: Certificate | None
    release: Release | None


class HostStatus(BaseModel):
    name: str
    roles: list[str]
    failure: str | None = None
    system: str = ""
    kernel: str = ""
    up_seconds: int = 0
    wants_reboot: bool = False
    # By the title of what it is of.
    versions: dict[str, str] = {}
    services: list[Service] = []
    # A line of a component, by its title.
    reports: dict[str, str] = {}
    certificate: Certificate | None = None
    # Visitors reach an application server by the load balancer, which has the certificate.
    is_behind: bool = False
    disks: list[Disk] = []
    release: Release | None = None
    # Of the first site, those two; and of the host's further ones.
    further_sites: list[SiteStatus] = []
    last_apply: Apply | None = None


class StatusReport(BaseModel):
    schema_version: Literal[2] = 2
    environment: str
    when: datetime
    hosts: list[HostStatus]


def asked(components: Sequence[Component], settings: Settings, groups: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """What a host of these groups is asked of its components: units, versions, health and reports of Condition."""
    here = [one for one in components if one.is_on(groups, settings)]
    return {
        "reports": tuple(item for one in here for item in one.mapped(one.reports, settings).items()),
        "units": tuple(unit for one in here for unit in one.listed(one.units, settings)),
        "versions": tuple(item for one in here for item in one.mapped(one.versions, settings).items()),
        "health": tuple(item for one in here for item in one.mapped(one.health, settings).items()),
    }


def status(session: Session) -> StatusReport:
    """Ask all hosts of a session."""
    roles = session.connections.roles()
    with failing(session.connections.log), in_words():
        components = deployed()

    def question(host: Host) -> tuple[type[Condition], dict[str, Any]]:
        settings = session.connections.settings[host.name]
        return Condition, {
            **asked(components, settings, host.groups),
            "served": settings.tls_folder,
            "site_root": settings.site_root,
            "log": lock.LOG,
            "others": tuple((site.site_name, site.tls_folder, site.site_root) for site in settings.all_sites[1:]),
            "folders": tuple(data_folders(settings, host.groups)),
        }

    found, now = session.connections.ask(question), datetime.now(UTC).replace(microsecond=0)
    known = session.connections.settings
    hosts = [
        status_of(name, its, found[name], now).model_copy(update={"is_behind": not known[name].is_public})
        if name in found
        else HostStatus(name=name, roles=its, failure=session.connections.failures.get(name, "not asked"))
        for name, its in roles.items()
    ]
    return StatusReport(environment=session.connections.environment, when=now, hosts=hosts)


def status_of(name: str, roles: list[str], found: Mapping[str, str], now: datetime) -> HostStatus:
    """What facts.Condition has found."""
    services, disks = [], []
    for key, value in found.items():
        kind, _, its = key.partition(":")
        if kind == "unit":
            load, active, sub = value.split() or ("not-found", "", "")
            is_healthy = {"yes": True, "no": False}.get(found.get(f"health:{its}", ""))
            if load == "not-found":
                services.append(Service(unit=its, active="not installed", sub=load))
            else:
                services.append(Service(unit=its, active=active, sub=sub, is_healthy=is_healthy))
        elif kind == "disk":
            free, size = map(int, value.split())
            disks.append(Disk(mount=its, free_mb=free, size_mb=size))
    return HostStatus(
        name=name,
        roles=roles,
        system=found.get("system", ""),
        kernel=found.get("kernel", ""),
        up_seconds=int(found.get("up") or 0),
        wants_reboot="reboot" in found,
        versions={key.partition(":")[2]: value for key, value in found.items() if key.startswith("version:")},
        services=services,
        reports={key.partition(":")[2]: value for key, value in found.items() if key.startswith("report:")},
        certificate=_certificate(found, now),
        further_sites=[
            SiteStatus(name=name, certificate=_certificate(its, now), release=_release(its))
            for name, its in _by_site(found).items()
        ],
        disks=disks,
        release=_release(found),
        last_apply=_apply(found.get("apply")),
    )


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _by_site(found: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What was found of the further sites, by their names."""
    sites: dict[str, dict[str, str]] = {}
    for key, value in found.items():
        kind, _, name = key.partition(":")
        if name and kind in ("start", "end", "placeholder", "release", "released"):
            sites.setdefault(name, {})[kind] = value
    return sites


def _release(found: Mapping[str, str]) -> Release | None:
    return Release(id=found["release"], since=_time(found["released"])) if found.get("release") else None


def _certificate(found: Mapping[str, str], now: datetime) -> Certificate | None:
    if not found.get("end"):
        return None
    end = _time(found["end"])
    overdue = is_overdue(int(found.get("start", found["end"])), int(found["end"]), now.timestamp())
    placeholder = "placeholder" in found
    return Certificate(end=end, days_left=(end - now).days, is_placeholder=placeholder, is_overdue=overdue)


def _apply(line: str | None) -> Apply | None:
    """None too where the line was cut off, as by a power cut."""
    try:
        return Apply.model_validate(json.loads(line or ""))
    except ValueError:
        return None


def rows(host: HostStatus, now: datetime) -> Iterator[tuple[str, str]]:
    """What is shown of a host: a label and a text, in rich's markup for what deserves a look."""
    reboot = "; [yellow]reboot required[/]" if host.wants_reboot else ""
    yield "system", f"{shown(host.system)}, {shown(host.kernel)}, up {span(host.up_seconds)}{reboot}"
    if host.versions:
        yield "versions", ", ".join(f"{name} {shown(its)}" for name, its in host.versions.items())
    for service in host.services:
        colour = "green" if service.active == "active" else "red"
        unhealthy = ", [red]unhealthy[/]" if service.active == "active" and service.is_healthy is False else ""
        yield "service", f"{service.unit} [{colour}]{service.active}[/] ({service.sub}){unhealthy}"
    for title, text in host.reports.items():
        yield title, shown(text) or "[red]unknown[/]"
    if {*host.roles} & {"lb", "web"} and not host.is_behind:
        yield "certificate", _of_certificate(host.certificate)
        for site in host.further_sites:
            yield "", f"{shown(site.name)}: {_of_certificate(site.certificate)}"
    for disk in host.disks:
        percent = 100 * disk.free_mb // max(disk.size_mb, 1)
        colour = "red" if percent < 10 else "default"
        yield "disk", f"{shown(disk.mount)} [{colour}]{disk.free_mb / 1024:.1f} GiB free[/] ({percent} %)"
    if set(host.roles) & {"web", "app"}:
        yield "release", _of_release(host.release, now)
        for site in host.further_sites:
            yield "", f"{shown(site.name)}: {_of_release(site.release, now)}"
    yield "last apply", _of_apply(host.last_apply, now)


def _of_release(release: Release | None, now: datetime) -> str:
    return f"{shown(release.id)}, {span((now - release.since).total_seconds())} ago" if release else "none"


def _of_apply(last: Apply | None, now: datetime) -> str:
    if last is None:
        return "never"
    when = f"{span((now - last.when).total_seconds())} ago by {shown(last.who)} (Slipway {shown(last.version)})"
    return f"{when}: {shown(last.result)}, {last.changed} changed, {last.seconds:.0f} s"


def shown(text: str) -> str:
    """What a host says of itself, for rich."""
    return escape(plain(text))


def _of_certificate(certificate: Certificate | None) -> str:
    if certificate is None:
        return "[red]none[/]"
    if certificate.is_placeholder:
        return "[yellow]placeholder, no certificate issued yet[/]"
    colour, overdue = ("red", ", renewal overdue") if certificate.is_overdue else ("green", "")
    return f"[{colour}]{certificate.days_left} days left{overdue}[/] (until {certificate.end:%Y-%m-%d})"


def span(seconds: float) -> str:
    """A time in its largest unit: 3 days."""
    for unit, size in (("day", DAY), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // size)) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(int(seconds), 0)} s"
