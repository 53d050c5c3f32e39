"""Queries a host and builds the report about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
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

# The NAME=VALUE items about the connection.
CONNECTION = {*PYINFRA_NAMES, "timeout_scale"}
# What only root can see.
ROOT_SEES = (
    "the programs behind ports",
    "the firewall's rules",
    "files that root alone reads (certificates, mongod.conf, crontabs)",
    "passwords, sudo rights and other users' keys",
    "what `slipway apply` would do",
)


def given(items: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """NAME=VALUE items, split into those about the connection and the settings. Raises SettingsError."""
    data, problems = parse_items(items)
    connection = {name: value for name, value in data.items() if name in CONNECTION}
    settings = {name: value for name, value in data.items() if name not in CONNECTION}
    try:
        check(settings, COMMAND_LINE)
    except SettingsError as error:
        # Only problems of the given settings count.
        problems += [text for text in error.problems if text.split(": ")[:2] in [[COMMAND_LINE, n] for n in settings]]
    if problems:
        raise SettingsError(problems)
    return connection, settings


def inspect(one: OneHost, settings: Mapping[str, Any]) -> Report:
    """The report about a connected host. `settings` take precedence over what is found. Raises RunFailed."""
    answers = one.answers(questions())
    now = datetime.now(UTC).replace(microsecond=0)
    report = report_of(answers, one.host.name, one.user, one.without_root, now)
    report.settings = [proposed for proposed in report.settings if proposed.name not in settings]
    if not one.without_root:
        wanted = proposals.settings_of(report.settings, settings)
        has_site = "site_domain" in {*settings, *(proposed.name for proposed in report.settings)}
        plan = plan_of(one, wanted, has_site)
        more = {text: its for text, its in proposals.needed(plan.refusals).items() if its.name not in settings}
        report.settings += more.values()
        plan = replace(plan, refusals=[text for text in plan.refusals if text not in more])
        fates.tell(report, known_of(answers, wanted, plan, has_site))
    return report


def report_of(answers: Mapping[str, Any], host: str, user: str, without_root: str, now: datetime) -> Report:
    """The report from the answers to `questions()`, without the fates."""
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
    """What the fates are derived from."""
    return fates.Known(
        settings=settings,
        plan=plan,
        machine=answers["machine"],
        sshd=answers["sshd"],
        files=web.nginx_files(answers["web"]),
        rules=answers["firewall"],
        has_site=has_site,
    )
