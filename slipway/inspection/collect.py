"""A host, asked and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from slipway.engine.one_host import OneHost
from slipway.facts.machine import is_container
from slipway.inspection import databases, fates, ports, proposals, services, system, users, web
from slipway.inspection.questions import parts, questions
from slipway.inspection.report import Report
from slipway.settings.check import COMMAND_LINE, PYINFRA_NAMES, SettingsError, check, parse_items

# What of NAME=VALUE items tells how to connect.
CONNECTION = {*PYINFRA_NAMES, "timeout_scale"}
# What only root sees.
ROOT_SEES = (
    "the programs behind ports",
    "the firewall's rules",
    "files that root alone reads (certificates, mongod.conf, crontabs)",
    "passwords, sudo rights and other users' keys",
    "what `slipway apply` would do",
)


def given(items: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """NAME=VALUE items as what tells how to connect, and as settings to judge by. Raises SettingsError."""
    data, problems = parse_items(items)
    connection = {name: value for name, value in data.items() if name in CONNECTION}
    settings = {name: value for name, value in data.items() if name not in CONNECTION}
    try:
        check(settings, COMMAND_LINE)
    except SettingsError as error:
        # Of what is not given nothing can be said.
        problems += [text for text in error.problems if text.split(": ")[:2] in [[COMMAND_LINE, n] for n in settings]]
    if problems:
        raise SettingsError(problems)
    return connection, settings


def inspect(one: OneHost, settings: Mapping[str, Any]) -> Report:
    """Ask a connected host. `settings` win over what is found. Raises RunFailed."""
    answers = one.ask(questions())
    now = datetime.now(UTC).replace(microsecond=0)
    report = report_of(answers, one.host.name, one.user, one.without_root, now)
    if one.is_root:
        known = known_of(report, answers, settings)
        for name, found in one.together(fates.questions(known.settings, known.machine, known.has_site)).items():
            setattr(known, name, found)
        judge(report, known, answers)
    return report


def report_of(answers: Mapping[str, Any], host: str, user: str, without_root: str, now: datetime) -> Report:
    """What was found, by the answers to `questions()`; the fates of things are not told yet."""
    firewall = answers["firewall"] if not without_root else ""
    listening = ports.ports(answers["ports"])
    ports.judge(listening, firewall, parts(answers["ports"]).get("addresses", []))
    report = Report(
        slipway_version=version("slipway"),
        when=now,
        host=host,
        user=user,
        without_root=without_root,
        unseen=[*ROOT_SEES] if without_root else [],
        system=system.system(answers["system"], answers["machine"]),
        ports=listening,
        web_servers=web.web_servers(answers["web"]),
        sites=web.sites(answers["web"]),
        certificates=web.certificates(answers["web"], answers["renewal"], now),
        databases=databases.servers(answers["mongodb"], answers["databases"]),
        services=services.services(answers["services"], listening),
        users=users.users(answers["users"]),
        jobs=services.jobs(answers["jobs"]),
        firewall=ports.firewall(answers["ufw"], firewall),
        packages=system.packages(answers["packages"], answers["system"], now.timestamp()),
        disks=system.disks(answers["disks"]),
        folders=system.folders(answers["disks"]),
    )
    report.settings = proposals.proposals(report, answers["sshd"], is_container(answers["machine"]))
    return report


def known_of(report: Report, answers: Mapping[str, Any], settings: Mapping[str, Any]) -> fates.Known:
    """What the fates are told by, without what the components ask themselves."""
    return fates.Known(
        settings=proposals.settings_of(report.settings, settings),
        machine=answers["machine"],
        listeners=answers["listeners"],
        sshd=answers["sshd"],
        has_site="site_domain" in {*settings, *(one.name for one in report.settings)},
    )


def judge(report: Report, known: fates.Known, answers: Mapping[str, Any]) -> None:
    """Tell what `slipway apply` would do with each thing."""
    report.refusals = fates.refusals(known, report.when.timestamp(), not report.system.by_slipway)
    fates.tell(report, known, web.nginx_files(answers["web"]), answers["firewall"])
