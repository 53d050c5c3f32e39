"""What `slipway apply` would do with each thing on a host, by what its components decide: preflight, adoption,
firewall, ssh, nginx, tls, mongodb."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.inspection import databases, fates_of_sites, ports
from slipway.inspection.report import DatabaseServer, Fate, Port, Report, Rule, Service, Source, User
from slipway.ops.templates import render
from slipway.settings.inventory import ROLES
from slipway.settings.model import Settings
from slipway.systems import system_of
from slipway.tasks import firewall, mongodb, preflight, ssh
from slipway.tasks.adoption import ASIDE, found_by_hand, other_sites, replaced


@dataclass
class Known:
    """What the components are asked about."""

    settings: Settings
    machine: Mapping[str, str]
    listeners: Mapping[int, str]
    sshd: Mapping[str, list[str]]
    # Whether a site was found that the settings are about.
    has_site: bool
    # Of `questions`, by the same names.
    by_hand: list[str] = field(default_factory=list)
    other_sites: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)

    @property
    def copied(self) -> str:
        """What becomes of a file that is replaced."""
        return f"copy in {ASIDE}" if self.by_hand else "no copy is kept"


def questions(settings: Settings, machine: Mapping[str, str], has_site: bool) -> dict[str, Callable[[], Any]]:
    """What the components ask the host themselves, as functions that do so of `pyinfra.host`."""
    asked: dict[str, Callable[[], Any]] = {"network": lambda: preflight.network_problems(settings, [*ROLES])}
    if has_site:
        asked["domains"] = lambda: preflight.domain_problems({**machine}, settings)
    asked["by_hand"] = lambda: found_by_hand(settings)
    asked["other_sites"] = lambda: other_sites(settings)
    return asked


def refusals(known: Known, now: float, is_new: bool) -> list[str]:
    """What preflight would refuse the host for. `now` in seconds since the epoch."""
    machine, settings = {**known.machine}, known.settings
    return [
        *preflight.system_problems(machine),
        *preflight.memory_problems(machine),
        *preflight.disk_problems(machine, is_new, settings.swap_mb),
        *preflight.clock_problems(machine, now),
        *(known.network if is_new else []),
        *preflight.mongodb_problems(machine, settings),
        *preflight.port_problems({**known.listeners}, settings, [*ROLES]),
        *known.domains,
    ]


def tell(found: Report, known: Known, files: Mapping[str, str], rules: str) -> None:
    """Set the fate of each thing; `files` are Nginx's, by name, `rules` the answer "firewall". `found.refusals` is set
    already."""
    found.system.fate = _system(found)
    _ports(found, known, rules)
    fates_of_sites.tell(found, known.settings, files, known.other_sites, known.copied, known.domains)
    for server in found.databases:
        server.fate = _database(server, found, known)
    for service in found.services:
        service.fate = _service(service, found, known)
    for user in found.users:
        user.fate = _user(user, known)
    for job in found.jobs:
        job.fate = Fate(verdict="keep")
    _firewall(found, known)
    for source in found.packages.sources:
        source.fate = _source(source, known)
    for disk in found.disks:
        full = _about(found.refusals, f"free disk space on {disk.mount}:")
        disk.fate = Fate(verdict="refuse", reason=full) if full else Fate(verdict="keep")


def _about(refusals: Iterable[str], *signs: str) -> str:
    return "; ".join(text for text in refusals if text.startswith(signs))


def _system(found: Report) -> Fate:
    signs = ("rights:", "init:", "architecture:", "operating system:", "memory:", "clock:", "processor:", "network:")
    problems = _about(found.refusals, *signs)
    return Fate(verdict="refuse", reason=problems) if problems else Fate(verdict="keep")


def open_ports(settings: Settings) -> set[tuple[int, str]]:
    """The ports and protocols that the firewall opens to everybody or, for ssh, to some."""
    opened = set()
    for rule in firewall.rules(settings, [str(settings.sshd_port)], is_web=True):
        words = rule.split()
        port, protocol = (words[5], words[7]) if words[1] == "from" else words[1].split("/")
        opened.add((int(port), protocol))
    return opened


def _ports(found: Report, known: Known, rules: str) -> None:
    """How far each port is reached once UFW has its rules, by the answer "firewall"."""
    wanted = firewall.rules(known.settings, [str(known.settings.sshd_port)], is_web=True)
    after = [port.model_copy() for port in found.ports]
    ports.judge(after, ports.rules_after(rules, firewall.expected_rules(wanted)), found.system.addresses)
    for port, then in zip(found.ports, after, strict=True):
        port.fate = _port(port, then, found, known)


def _port(port: Port, then: Port, found: Report, known: Known) -> Fate:
    if problem := _about(found.refusals, f"port {port.port}:"):
        return Fate(verdict="refuse", reason=problem)
    if port.unit == f"{known.settings.backend_unit}.service" and not known.settings.backend_is_tcp:
        return Fate(verdict="replace", reason=f"the backend listens on {known.settings.backend_listen}")
    if port.past_ufw:
        return Fate(verdict="keep", reason="UFW's rules do not apply: its container's rules come before them")
    if then.reach == port.reach:
        return Fate(verdict="keep")
    if then.reach == "closed":
        name = f"{port.port}/{port.protocol}"
        return Fate(verdict="remove", reason=f"nobody outside reaches it then: firewall_allow has no {name}")
    return Fate(verdict="keep", reason=f"from outside it is {then.reach} then")


def _database(server: DatabaseServer, found: Report, known: Known) -> Fate:
    settings = known.settings
    if server.kind != "MongoDB" or server.unseen == "it runs in a container":
        refused = _about(found.refusals, f"port {server.port}:") if server.port else ""
        return Fate(verdict="refuse", reason=refused) if refused else Fate(verdict="keep", reason="not Slipway's")
    if refused := _about(found.refusals, "mongodb_version:", "processor:", f"port {settings.mongodb_port}:"):
        return Fate(verdict="refuse", reason=refused)
    if server.by_slipway:
        return Fate(verdict="keep")
    own = databases.options(render("mongodb/mongod.conf", settings=settings, cache_gb=0.25))
    folder = databases.at(own, "storage.dbPath")
    ends = ["logins without a password end"] if server.authorization is False else []
    if server.replica_set and not databases.at(own, "replication.replSetName"):
        ends.append(f"the replica set {server.replica_set} is not configured any more")
    said = [f"{server.config} and the unit are replaced ({known.copied})", *ends]
    if server.data_folder != folder:
        lost = f"mongod starts with {folder}: the data in {server.data_folder} stays there, unused"
        return Fate(verdict="replace", reason="; ".join([lost, *said]))
    return Fate(verdict="adopt", reason="; ".join([f"the data in {folder} stays", *said]))


def _service(service: Service, found: Report, known: Known) -> Fate:
    settings = known.settings
    for name in (one.partition("/")[0] for one in service.ports):
        if problem := _about(found.refusals, f"port {name}:"):
            return Fate(verdict="refuse", reason=problem)
    if service.by_slipway:
        return Fate(verdict="keep", reason="Slipway's own")
    if service.name == f"{settings.backend_unit}.service":
        imported = f"{settings.site_root}/backend" in known.by_hand
        code = f"the code in {settings.site_root}/backend becomes the first release" if imported else "not its code"
        return Fate(verdict="adopt", reason=f"the unit is replaced ({known.copied}); {code}")
    if service.file in _replaced(settings):
        return Fate(verdict="replace", reason=f"{service.file} is replaced ({known.copied})")
    if service.kind == "systemd" and _serves_the_site(service, found, known):
        unit = f"{settings.backend_unit}.service"
        return Fate(verdict="keep", reason=f"goes on running, but visitors are led to {unit}")
    return Fate(verdict="keep")


def _replaced(settings: Settings) -> set[str]:
    """Unit files that are replaced, and those that packages bring their own in place of."""
    return {path for path in replaced(settings) if path.endswith(".service")}


def _serves_the_site(service: Service, found: Report, known: Known) -> bool:
    names = {*known.settings.domains}
    targets = [proxy.target for site in found.sites if names & {*site.names} for proxy in site.proxies]
    ports = [one.partition("/")[0] for one in service.ports]
    return known.has_site and any(f":{port}" in target for port in ports for target in targets)


def _user(user: User, known: Known) -> Fate:
    settings = known.settings
    lines = ssh.configuration(settings, [], {keyword: set() for keyword in ssh.ALGORITHMS})
    wanted = {name.lower(): value for name, value in lines}
    if user.name == settings.admin_user:
        return Fate(
            verdict="replace",
            reason="its keys become those of admin_keys, and it gets sudo without a password",
        )
    if user.name == "root" and wanted["permitrootlogin"] == "no":
        can = known.sshd.get("permitrootlogin", ["yes"])[0] != "no" and (user.keys or user.password)
        return Fate(verdict="remove", reason="its login by ssh ends") if can else Fate(verdict="keep")
    by_password = known.sshd.get("passwordauthentication", ["yes"])[0] == "yes"
    if user.password and by_password and not user.keys and wanted["passwordauthentication"] == "no":
        return Fate(verdict="remove", reason="its login by password ends, and it has no key")
    return Fate(verdict="keep")


def _firewall(found: Report, known: Known) -> None:
    settings, its = known.settings, found.firewall
    wanted = firewall.rules(settings, [str(settings.sshd_port)], is_web=True)
    for rule in its.rules:
        rule.fate = _rule(rule, wanted, settings)
    for other in its.others:
        other.fate = Fate(verdict="keep")
    if its.active and its.defaults.startswith(firewall.DENY_INCOMING):
        its.fate = Fate(verdict="keep")
    else:
        its.fate = Fate(verdict="replace", reason=f"UFW denies all that comes in, but: {', '.join(wanted)}")


def _rule(rule: Rule, wanted: list[str], settings: Settings) -> Fate:
    if rule.text in wanted:
        return Fate(verdict="keep")
    opened = {port for port, _ in open_ports(settings)}
    port = next((int(word) for word in rule.text.replace("/", " ").split() if word.isdigit()), 0)
    instead = " (it stays open by another rule)" if port in opened else ""
    return Fate(verdict="remove", reason=f"no rule of firewall_allow{instead}")


def _source(source: Source, known: Known) -> Fate:
    system, settings = system_of(known.machine), known.settings
    if source.file == mongodb.SOURCES:
        return Fate(verdict="replace", reason=f"{source.file} becomes Slipway's")
    is_mongodb = system and source.url.rstrip("/") == f"{settings.mongodb_apt_url}/{system.os}"
    if is_mongodb and source.signed_by != mongodb.KEYRING:
        return Fate(
            verdict="refuse",
            reason=f"apt accepts no second entry for {source.url} with another key than {mongodb.KEYRING}:"
            f" remove {source.file}",
        )
    return Fate(verdict="keep")
