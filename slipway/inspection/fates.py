"""What `slipway apply` would do with each thing on a host, derived from a plan, and how that changes who can reach the
host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.inspection import databases, fates_of_sites, ports
from slipway.inspection.plan import Plan, Step
from slipway.inspection.report import DatabaseServer, Fate, Job, Port, Report, Rule, Service, Source, User
from slipway.ops.templates import render
from slipway.settings.model import Settings
from slipway.systems import system_of
from slipway.tasks import firewall, mongodb, ssh
from slipway.tasks.owners import ASIDE


@dataclass(frozen=True)
class Known:
    """What the fates are derived from. `files` are Nginx's, by name, and `rules` is the answer "firewall"."""

    settings: Settings
    plan: Plan
    machine: Mapping[str, str]
    sshd: Mapping[str, list[str]]
    files: Mapping[str, str]
    rules: str
    # Whether the settings describe a site that was found.
    has_site: bool

    def copied(self, path: str) -> str:
        """A note on whether a replaced path is backed up."""
        return f"copy in {ASIDE}" if self.is_copied(path) else "no copy is kept"

    def is_copied(self, path: str) -> bool:
        mark = f"{ASIDE}: "
        lines = (line for step in self.plan.steps for line in step.lines if line.startswith(mark))
        kept = [place for line in lines for place in line.removeprefix(mark).split(", ")]
        return any(path == place or path.startswith(f"{place}/") for place in kept)


def tell(found: Report, known: Known) -> None:
    """Set the fate of each thing, and the blockers of an apply. Without a plan, only the refusals are known."""
    found.refusals = list(dict.fromkeys(known.plan.refusals))
    signs = ["rights:", "init:", "architecture:", "operating system:", "memory:", "clock:", "processor:", "network:"]
    signs += ["/usr/bin/python3:", "swap_mb:"]
    found.system.fate = refused(known.plan, *signs) or KEEP
    for disk in found.disks:
        disk.fate = refused(known.plan, f"free disk space on {disk.mount}:") or KEEP
    _ports(found, known)
    for server in found.databases:
        server.fate = _database(server, known)
    if not known.plan.is_known:
        return
    fates_of_sites.tell(found, known.settings, known.plan, known.files, known.copied)
    for service in found.services:
        service.fate = _service(service, found, known)
    for user in found.users:
        user.fate = _user(user, known, found.system.by_slipway)
    for job in found.jobs:
        job.fate = _job(job, known)
    _firewall(found, known)
    for source in found.packages.sources:
        source.fate = _source(source, known)


CONFIG = "/etc/mongod.conf"
KEEP = Fate(verdict="keep")
OWN = Fate(verdict="keep", reason="Slipway's own")


def refused(plan: Plan, *signs: str) -> Fate | None:
    """The fate "refuse", if the plan has refusals that begin with one of `signs`."""
    text = plan.about(*signs)
    return Fate(verdict="refuse", reason=text) if text else None


def of_paths(known: Known, *paths: str) -> Fate:
    """The fate of some paths, by the steps that change them."""
    touched = [*known.plan.touching(*paths)]
    if not touched:
        return KEEP
    reason = "; ".join(dict.fromkeys(_in_words(step, line) for step, line in touched))
    copies = [path for path in paths if path and known.is_copied(path)]
    reason += f" (copy in {ASIDE})" if copies else ""
    if all(line.endswith(": removed") for _, line in touched):
        return Fate(verdict="remove", reason=reason)
    return Fate(verdict="replace", reason=reason)


def _in_words(step: Step, line: str) -> str:
    return f"{step.operation}: {line}" if line else step.operation


def _ports(found: Report, known: Known) -> None:
    """Set the fate of each port, by who can reach it with UFW's new rules."""
    wanted = firewall.rules(known.settings, [str(known.settings.sshd_port)], is_web=True)
    after = [port.model_copy() for port in found.ports]
    ports.judge(after, ports.rules_after(known.rules, firewall.expected_rules(wanted)), found.system.addresses)
    for port, then in zip(found.ports, after, strict=True):
        told = _port(port, then, known) if known.plan.is_known else None
        port.fate = refused(known.plan, f"port {port.port}:") or told


def _port(port: Port, then: Port, known: Known) -> Fate:
    if port.unit == f"{known.settings.backend_unit}.service" and not known.settings.backend_is_tcp:
        return Fate(verdict="replace", reason=f"the backend listens on {known.settings.backend_listen}")
    if port.past_ufw:
        return Fate(verdict="keep", reason="UFW's rules do not apply: the container's rules precede them")
    if (then.reach, then.reach_by) == (port.reach, port.reach_by):
        return KEEP
    if then.reach == "closed":
        name = f"{port.port}/{port.protocol}"
        return Fate(verdict="remove", reason=f"the firewall will block it: firewall_allow lacks {name}")
    will_be = ", ".join(f"{one} by IPv{version}" for version, one in then.reach_by.items()) or then.reach
    return Fate(verdict="keep", reason=f"from outside it will be {will_be}")


def _database(server: DatabaseServer, known: Known) -> Fate | None:
    if server.kind != "MongoDB" or server.unseen == "it runs in a container":
        held = refused(known.plan, f"port {server.port}:") if server.port else None
        return held or Fate(verdict="keep", reason="not Slipway's")
    signs = ["mongodb_version:", "processor:", f"port {known.settings.mongodb_port}:", f"{server.config or CONFIG}:"]
    signs.append(f"{known.settings.mongodb_data}:")
    if held := refused(known.plan, *signs, "mongod:", "mongod.service:", "MongoDB's user", "replica set ", "database "):
        return held
    if server.by_slipway:
        return OWN
    if not known.plan.is_known:
        return None
    if of_paths(known, server.config) == KEEP:
        return KEEP
    own = databases.options(
        render("mongodb/mongod.conf", settings=known.settings, cache_gb=0.25, keyfile="", certificate="")
    )
    folder = databases.at(own, "storage.dbPath")
    said = [f"{server.config} is replaced ({known.copied(server.config)})"]
    said += ["a password will be required"] if server.authorization is False else []
    set_name = databases.at(own, "replication.replSetName")
    if server.replica_set and set_name != server.replica_set:
        said.append(f"the replica set {server.replica_set} is not configured any more")
    elif set_name and not server.replica_set:
        said.append(f"it becomes the replica set {set_name}")
    if server.data_folder != folder:
        lost = f"mongod starts with {folder}: the data in {server.data_folder} stays there, unused"
        return Fate(verdict="replace", reason="; ".join([lost, *said]))
    return Fate(verdict="adopt", reason="; ".join([f"the data in {folder} stays", *said]))


def _service(service: Service, found: Report, known: Known) -> Fate:
    for name in (one.partition("/")[0] for one in service.ports):
        if held := refused(known.plan, f"port {name}:"):
            return held
    if service.by_slipway:
        # The settings of its project, which are not known here, decide.
        return OWN
    settings, fate = known.settings, of_paths(known, service.file) if service.file else KEEP
    code = f"{settings.site_root}/backend"
    if service.name == f"{settings.backend_unit}.service" and fate != KEEP:
        imported = any(step.component == "adoption" for step, _ in known.plan.touching(code))
        rest = f"{code} becomes the first release" if imported else "the project's code is released"
        return Fate(verdict="adopt", reason=f"{service.file} is replaced ({known.copied(service.file)}); {rest}")
    if fate == KEEP and service.file and known.is_copied(service.file):
        # A package installs another file.
        return Fate(verdict="replace", reason=f"{service.file} is replaced ({known.copied(service.file)})")
    if fate == KEEP and service.kind == "systemd" and _serves_the_site(service, found, known):
        return Fate(verdict="keep", reason=f"keeps running, but Nginx uses {settings.backend_unit}.service")
    return fate


def _serves_the_site(service: Service, found: Report, known: Known) -> bool:
    names = {*known.settings.domains}
    targets = [proxy.target for site in found.sites if names & {*site.names} for proxy in site.proxies]
    numbers = [one.partition("/")[0] for one in service.ports]
    return known.has_site and any(re.search(rf":{number}\b", target) for number in numbers for target in targets)


def _user(user: User, known: Known, by_slipway: bool) -> Fate:
    settings = known.settings
    lines = ssh.configuration(settings, [], {keyword: set() for keyword in ssh.ALGORITHMS})
    wanted = {name.lower(): value for name, value in lines}
    if held := refused(known.plan, f"user {user.name}:"):
        return held
    if user.name == settings.admin_user:
        if by_slipway:
            return OWN
        touched = of_paths(known, f"{user.home}/.ssh/authorized_keys", f"/etc/sudoers.d/{user.name}")
        if touched == KEEP:
            return KEEP
        reason = "its keys are replaced by admin_keys, and it gets sudo without a password"
        return Fate(verdict="replace", reason=reason)
    if user.name == "root":
        may = known.sshd.get("permitrootlogin", ["yes"])[0] != "no" and (user.keys or user.password)
        ends = may and wanted["permitrootlogin"] == "no"
        return Fate(verdict="remove", reason="its login by ssh is disabled") if ends else KEEP
    by_password = known.sshd.get("passwordauthentication", ["yes"])[0] == "yes"
    if user.password and by_password and not user.keys and wanted["passwordauthentication"] == "no":
        return Fate(verdict="remove", reason="its login by password is disabled, and it has no key")
    return KEEP


def _job(job: Job, known: Known) -> Fate:
    path = f"/etc/systemd/system/{job.name}" if job.kind == "timer" else job.name
    return refused(known.plan, f"{path}:") or of_paths(known, path)


def _firewall(found: Report, known: Known) -> None:
    steps = [step for step in known.plan.steps if step.component == "firewall"]
    lines = [line for step in steps for line in step.lines]
    for rule in found.firewall.rules:
        rule.fate = _rule(rule, lines, known)
    for other in found.firewall.others:
        other.fate = KEEP
    said = [line for line in lines if not line.startswith("- ")]
    found.firewall.fate = Fate(verdict="replace", reason=", ".join(said)) if said else KEEP


def _rule(rule: Rule, lines: list[str], known: Known) -> Fate:
    text = firewall.COMMENT.sub("", rule.text)
    if held := refused(known.plan, f"ufw {text}:"):
        return held
    if f"- {text}" not in lines:
        return KEEP
    wanted = firewall.rules(known.settings, [str(known.settings.sshd_port)], is_web=True)
    port = next((word for word in re.split(r"[ /]", rule.text) if word.isdigit()), "")
    others = [one for one in wanted if port and re.search(rf"\b{port}\b", one)]
    return Fate(verdict="remove", reason=f"replaced by {others[0]}" if others else "not in firewall_allow")


def _source(source: Source, known: Known) -> Fate:
    system, settings = system_of(known.machine), known.settings
    fate = of_paths(known, source.file)
    is_mongodb = system and source.url.rstrip("/") == f"{settings.mongodb_apt_url}/{system.os}"
    if fate == KEEP and is_mongodb and source.file != mongodb.SOURCES and source.signed_by != mongodb.KEYRING:
        text = f"apt accepts no second entry for {source.url} with another key than {mongodb.KEYRING}"
        return Fate(verdict="refuse", reason=f"{text}: remove {source.file}")
    return fate
