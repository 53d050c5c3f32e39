"""A host, asked and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from slipway.engine.one_host import OneHost
from slipway.facts.machine import is_container
from slipway.inspection import databases, fates, ports, proposals, services, system, users, web
from slipway.inspection.plan import Plan, plan_of
from slipway.inspection.questions import parts, questions
from slipway.inspection.report import Report
from slipway.settings.check import COMMAND_LINE, PYINFRA_NAMES, SettingsError, check, parse_items
from slipway.settings.model import Settings

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
    answers = one.answers(questions())
    now = datetime.now(UTC).replace(microsecond=0)
    report = report_of(answers, one.host.name, one.user, one.without_root, now)
    report.settings = [proposed for proposed in report.settings if proposed.name not in settings]
    if not one.without_root:
        wanted = proposals.settings_of(report.settings, settings)
        has_site = "site_domain" in {*settings, *(proposed.name for proposed in report.settings)}
        fates.tell(report, known_of(answers, wanted, plan_of(one, wanted, has_site), has_site))
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


def known_of(answers: Mapping[str, Any], settings: Settings, plan: Plan, has_site: bool) -> fates.Known:
    """What the fates are told by."""
    return fates.Known(
        settings=settings,
        plan=plan,
        machine=answers["machine"],
        sshd=answers["sshd"],
        files=web.nginx_files(answers["web"]),
        rules=answers["firewall"],
        has_site=has_site,
    )
