"""The settings that match a host: `slipway init --from HOST` writes them, and the plan of `slipway inspect` uses
them."""

from __future__ import annotations

import re
import shlex
from ast import literal_eval
from collections.abc import Iterator, Mapping
from typing import Any

from slipway.inspection.report import Proposal, Report, Service, Site
from slipway.settings.model import Settings
from slipway.settings.mongodb import KEYS
from slipway.settings.system import is_timezone
from slipway.settings.types import DOMAIN
from slipway.systems import SYSTEMS, lent_by

RUNNERS = ("uvicorn", "gunicorn", "hypercorn")
APPLICATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
SITE_NAME = re.compile(r"(?!(default|placeholder)$)[a-z][a-z0-9-]{0,23}")
WEB_PORTS = (80, 443)
SSH_PROFILES = ("OpenSSH", "SSH", "ssh")
# Of a plan's refusals, those whose setting only keeps what the server does: no choice is lost by it.
NEEDED = re.compile(
    r"(?P<where>.+?): found .*, need (?P<name>loadable_modules|rp_filter|fail2ban_ignore) = (?P<value>\[.*?\]|\d+)(,|$)"
)


def proposals(found: Report, sshd: Mapping[str, list[str]], in_container: bool) -> list[Proposal]:
    """Settings that differ from their defaults, each once."""
    proposed = [*_site(found), *_database(found), *_system(found, in_container), *_access(found, sshd)]
    return list({one.name: one for one in reversed(proposed)}.values())[::-1]


def needed(refusals: list[str]) -> dict[str, Proposal]:
    """The settings that a plan's refusals ask for, by their texts."""
    found = {text: match for text in refusals if (match := NEEDED.match(text))}
    return {
        text: Proposal(name=match["name"], value=literal_eval(match["value"]), where=match["where"])
        for text, match in found.items()
    }


def settings_of(proposed: list[Proposal], given: Mapping[str, Any]) -> Settings:
    """The settings of a host; `given` take precedence. Not validated, as a project's folders are missing."""
    values: dict[str, Any] = {name: "" for name, field in Settings.model_fields.items() if field.is_required()}
    values |= {"site_name": "site", "site_domain": "site.invalid"}
    # Without secrets: in the plan they do not exist yet.
    values |= {"backend_secrets": [], "secrets_file": ""}
    values |= {one.name: one.value for one in proposed} | {**given}
    return Settings.model_construct(**values)


def main_site(found: Report) -> Site | None:
    """The site that the settings describe: the first with a backend, or else the first one."""
    answering = [site for site in found.sites if site.server == "nginx" and not site.redirect and _domains(site)]
    led = [site for site in answering if backend_of(found, site)]
    return next(iter([*led, *(site for site in answering if site.proxies), *answering]), None)


def backend_of(found: Report, site: Site) -> Service | None:
    """The Python application that a site proxies to."""
    programs = applications(found)
    for proxy in site.proxies:
        named = {*re.findall(r":(\d+)\b", proxy.target)}
        sockets = re.findall(r"unix:(?://)?([^\s:]+)", proxy.target)
        for program in programs:
            unit = program.name.removesuffix(".service")
            if named & ports_of(program) or any(one in program.command or f"/{unit}.sock" in one for one in sockets):
                return program
    return None


def applications(found: Report) -> list[Service]:
    """The units that run a Python application, active ones first."""
    programs = [one for one in found.services if one.kind == "systemd" and application(one.command)]
    return sorted(programs, key=lambda one: not one.state.startswith("active"))


def ports_of(program: Service) -> set[str]:
    """The ports of a program, observed or from its command line."""
    bound = (option(program.command, name) for name in ("--port", "-p", "--bind", "-b"))
    return {port.partition("/")[0] for port in program.ports} | {one.rpartition(":")[2] for one in bound if one}


def application(command: str) -> str:
    """The application that a command line runs by uvicorn or the like, module:attribute; "" if none."""
    words = _words(command)
    if not any(word.rpartition("/")[2] in RUNNERS for word in words[:4]):
        return ""
    return next((word for word in words if APPLICATION.fullmatch(word)), "")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def option(command: str, *names: str) -> str:
    """The value of a command-line option, "" if it is not given."""
    words = _words(command)
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else following
    return ""


def _domains(site: Site) -> list[str]:
    return [name for name in site.names if re.fullmatch(DOMAIN, name)]


def _site(found: Report) -> Iterator[Proposal]:
    site = main_site(found)
    backend = backend_of(found, site) if site else None
    backend = backend or next(iter(applications(found)), None)
    if site:
        domain, *aliases = _domains(site)
        where = f"server_name in {site.file}"
        if domain.startswith("www.") and domain.removeprefix("www.") in aliases:
            domain, aliases = domain.removeprefix("www."), [domain, *aliases]
            aliases.remove(domain)
        yield Proposal(name="site_domain", value=domain, where=where)
        leading = [
            name
            for other in found.sites
            if other is not site and re.match(rf"https?://{re.escape(domain)}(/|\$|$)", other.redirect)
            for name in _domains(other)
        ]
        aliases = list(dict.fromkeys(name for name in [*aliases, *leading] if name != domain))
        if aliases:
            yield Proposal(name="site_aliases", value=aliases, where=where)
    name, where = _name(site, backend)
    if name:
        yield Proposal(name="site_name", value=name, where=where)
    if backend:
        yield from _backend(backend)
    if site and site.max_body_mb and site.max_body_mb != _default("nginx_max_body_mb"):
        yield Proposal(name="nginx_max_body_mb", value=site.max_body_mb, where=f"client_max_body_size in {site.file}")


def _name(site: Site | None, backend: Service | None) -> tuple[str, str]:
    """The site's short name, from the name of its unit, folder or file, and where it was found; "" if there is none."""
    ways = []
    if backend and backend.name.endswith("-backend.service"):
        ways.append((backend.name.removesuffix("-backend.service"), f"the unit {backend.name}"))
    for folder in (backend.folder if backend else "", site.root if site else ""):
        if place := re.match(r"/var/www/([^/]+)/(backend|frontend)(/|$)", folder):
            ways.append((place[1], f"the folder /var/www/{place[1]}"))
    if site and "/sites-" in site.file:
        ways.append((site.file.rpartition("/")[2], f"the file {site.file}"))
    return next(((name, where) for name, where in ways if SITE_NAME.fullmatch(name)), ("", ""))


def _backend(backend: Service) -> Iterator[Proposal]:
    where = f"ExecStart in {backend.file}"
    yield Proposal(name="backend_app", value=application(backend.command), where=where)
    workers = option(backend.command, "--workers", "-w")
    if workers.isdigit() and 1 <= int(workers) <= 64 and int(workers) != _default("backend_workers"):
        yield Proposal(name="backend_workers", value=int(workers), where=where)


def _database(found: Report) -> Iterator[Proposal]:
    system = next((one for one in SYSTEMS.values() if f"({one.codename})" in found.system.title), None)
    if system and (lender := lent_by(system)):
        where = f"MongoDB has no packages for {system.title}; those of {lender.title} run there, unsupported"
        yield Proposal(name="mongodb_apt_suite", value=lender.codename, where=where)
    server = next((one for one in found.databases if one.kind == "MongoDB"), None)
    named = next((one for one in found.services if one.database), None)
    if named:
        where = f"the environment of {named.name}"
        yield Proposal(name="mongodb_database", value=named.database, where=where)
    if not server:
        return
    if len(server.databases) == 1 and re.fullmatch(r"[A-Za-z0-9_-]{1,63}", server.databases[0].name):
        yield Proposal(name="mongodb_database", value=server.databases[0].name, where="MongoDB's only database")
    series = re.match(r"\d\.\d", server.version)
    if series and series[0] != _default("mongodb_version"):
        where = f"MongoDB {server.version}"
        if series[0] not in KEYS:
            where += "; set mongodb_key_fingerprint to that of the series' key too"
        yield Proposal(name="mongodb_version", value=series[0], where=where)
    where = f"storage.dbPath in {server.config}"
    if server.data_folder and server.data_folder != _default("mongodb_data"):
        yield Proposal(name="mongodb_data", value=server.data_folder, where=where)
    if server.replica_set:
        where = f"replication.replSetName in {server.config}"
        yield Proposal(name="mongodb_replica_set", value=server.replica_set, where=where)
    if server.port and server.port != _default("mongodb_port"):
        yield Proposal(name="mongodb_port", value=server.port, where=f"net.port in {server.config}")


def _system(found: Report, in_container: bool) -> Iterator[Proposal]:
    its = found.system
    if its.timezone and its.timezone != _default("timezone") and is_timezone(its.timezone):
        yield Proposal(name="timezone", value=its.timezone, where="/etc/localtime")
    if re.fullmatch(r"[A-Za-z_]+\.(UTF-8|utf8)", its.locale) and not its.locale.startswith("C."):
        value = its.locale.replace("utf8", "UTF-8")
        yield Proposal(name="locale", value=value, where="/etc/default/locale")
    if its.swap and not in_container:
        others = [f"{name} ({mb} MiB)" for name, mb in its.swap.items() if name != "/swapfile"]
        size, where = its.swap.get("/swapfile", 0), "/swapfile"
        if not size:
            where = f"{', '.join(others)}, which is kept"
        if size != _default("swap_mb"):
            yield Proposal(name="swap_mb", value=size, where=where)


def _access(found: Report, sshd: Mapping[str, list[str]]) -> Iterator[Proposal]:
    ports = [port for port in sshd.get("port", []) if port.isdigit()]
    if ports and ports[0] != "22":
        yield Proposal(name="sshd_port", value=int(ports[0]), where="sshd -T")
    if not found.firewall.active:
        return
    rules = [rule.text for rule in found.firewall.rules]
    if allowed := _allowed(found, rules, ports or ["22"]):
        yield Proposal(name="firewall_allow", value=allowed, where="ufw show added")
    if networks := ssh_networks(rules, ports or ["22"]):
        yield Proposal(name="firewall_ssh_from", value=networks, where="ufw show added")


def _allowed(found: Report, rules: list[str], ssh_ports: list[str]) -> list[str]:
    """Ports that UFW opens to everybody, except those that Slipway opens or serves itself."""
    allowed = []
    for rule in rules:
        entry = re.fullmatch(r"(?:allow|limit) (\d+)(?:/(tcp|udp))?", rule)
        if not entry or int(entry[1]) in WEB_PORTS or entry[1] in ssh_ports or _is_taken_over(found, int(entry[1])):
            continue
        listening = {port.protocol for port in found.ports if port.port == int(entry[1])}
        allowed += [f"{entry[1]}/{protocol}" for protocol in ([entry[2]] if entry[2] else sorted(listening) or ["tcp"])]
    return list(dict.fromkeys(allowed))


def _is_taken_over(found: Report, port: int) -> bool:
    """Whether a database or the backend listens on a port: Slipway's listen only locally."""
    site = main_site(found)
    backend = backend_of(found, site) if site else None
    units = {backend.name} if backend else set()
    return any(one.port == port for one in found.databases) or any(
        one.port == port and one.unit in units for one in found.ports
    )


def ssh_networks(rules: list[str], ssh_ports: list[str]) -> list[str]:
    """The networks that ssh is open to, `[]` if it is open to all."""
    networks = []
    for rule in rules:
        words = rule.split()
        if len(words) > 1 and (words[1].partition("/")[0] in ssh_ports or words[1] in SSH_PROFILES):
            return []
        entry = re.fullmatch(r"(?:allow|limit) from (\S+) to any (?:port (\d+)(?: proto tcp)?|app (\S+))", rule)
        if entry and (entry[2] in ssh_ports or entry[3] in SSH_PROFILES):
            networks.append(entry[1])
    return networks


def _default(name: str) -> Any:
    return Settings.model_fields[name].default
