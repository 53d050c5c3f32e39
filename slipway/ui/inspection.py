"""What `slipway inspect` found, as a person reads it: sections of rows, on a terminal or as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from slipway.inspection.report import Fate, Port, Report, Site
from slipway.settings.doc import literal
from slipway.ui.console import Console, escape, plain
from slipway.ui.pages import page
from slipway.ui.status import span

STYLES = {"keep": "green", "adopt": "cyan", "replace": "yellow", "remove": "red", "refuse": "bold red"}
# What each verdict means, for the page and docs/inspect.md.
MEANINGS = {
    "keep": "stays as it is",
    "adopt": "Slipway takes it over with its data",
    "replace": "Slipway puts its own in its place",
    "remove": "it ends",
    "refuse": "`slipway apply` fails on it: fix it first",
}
# Lists are shown up to this many items, all of them with --verbose.
MAX_ITEMS = 8
SOON_DAYS = 21


@dataclass
class Row:
    """A thing: its name, what was found of it, what deserves a look, and what would become of it."""

    name: str
    text: str = ""
    fate: Fate | None = None
    warning: str = ""


@dataclass
class Section:
    title: str
    rows: list[Row] = field(default_factory=list)


def sections(report: Report, is_full: bool = False) -> list[Section]:
    """The report in the order in which it is read; `is_full` leaves nothing out."""
    return [
        Section("system", [*_system(report)]),
        Section("disk", [*_disks(report)]),
        Section("ports", [*_ports(report)]),
        Section("web sites", [*_sites(report)]),
        Section("certificates", [*_certificates(report)]),
        Section("databases", [*_databases(report)]),
        Section("programs", [*_services(report, is_full)]),
        Section("users", [*_users(report)]),
        Section("timers and cron", [*_jobs(report, is_full)]),
        Section("firewall", [*_firewall(report)]),
        Section("packages", [*_packages(report, is_full)]),
        Section("settings", [Row(f"{one.name} = {literal(one.value)}", one.where) for one in report.settings]),
    ]


def _listed(items: Sequence[str], is_full: bool = True) -> str:
    shown = items if is_full else items[:MAX_ITEMS]
    more = len(items) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def size(mb: float) -> str:
    return f"{mb / 1024:.1f} GiB" if mb >= 1024 else f"{mb:.0f} MiB" if mb >= 1 else "less than 1 MiB"


def _system(report: Report) -> Iterator[Row]:
    its = report.system
    swap = _listed([f"{name} {size(mb)}" for name, mb in its.swap.items()]) or "none"
    machine = f"{its.cores} cores, {size(its.memory_mb)} memory, swap: {swap}"
    kernel = f"{its.kernel}, {its.architecture}, virtualisation: {its.virtualisation or 'unknown'}"
    yield Row(its.title or "unknown", _joined(kernel, machine, f"up {span(its.up_seconds)}"), its.fate)
    today = report.when.date()
    if its.support_end:
        ended = its.support_end < today
        long_end = f"; LTS until {its.long_support_end}" if its.long_support_end else ""
        words = f"regular security support {'ended' if ended else 'until'} {its.support_end}{long_end}"
        is_over = (its.long_support_end or its.support_end) < today
        yield (
            Row("support", "" if ended else words, warning=words if ended else "")
            if not is_over
            else Row("support", warning=f"no security support since {its.long_support_end or its.support_end}")
        )
    place = _joined(f"time zone {its.timezone or 'unknown'}", f"locale {its.locale or 'unset'}")
    yield Row(its.hostname or "host", _joined(_listed(its.addresses), place))
    if its.by_slipway:
        yield Row("Slipway", "has provisioned this server")


def _disks(report: Report) -> Iterator[Row]:
    for disk in report.disks:
        percent = 100 * disk.free_mb // max(disk.size_mb, 1)
        text = f"{size(disk.free_mb)} free of {size(disk.size_mb)} ({percent} %), {disk.kind}"
        few = percent < 10
        yield Row(disk.mount, "" if few else text, disk.fate, warning=text if few else "")
    large = [f"{name} {size(mb)}" for name, mb in report.folders.items() if mb >= 50]
    if large:
        yield Row("largest", _listed(large))


ALL_ADDRESSES = ("0.0.0.0", "::", "*")  # noqa: S104  as ss shows them
REACHES = {
    "local": "from this host alone",
    "open": "open to all",
    "limited": "open to some addresses",
    "closed": "closed by the firewall",
    "unknown": "behind rules that can't be judged",
}


def _ports(report: Report) -> Iterator[Row]:
    for port in report.ports:
        where = "" if port.reach == "local" else _listed([one for one in port.addresses if one not in ALL_ADDRESSES])
        versions = " and ".join(f"IPv{one}" for one in port.versions)
        text = _joined(_program(port), f"{versions} {where}".strip(), _reach(port, bool(report.without_root)))
        exposed = port.reach == "open" and _is_sensitive(port, report)
        warning = "a database that everybody reaches" if exposed else ""
        yield Row(f"{port.port}/{port.protocol}", text, port.fate, warning)


def _reach(port: Port, without_root: bool) -> str:
    if port.reach_by:
        return ", ".join(f"IPv{version} {REACHES[one]}" for version, one in port.reach_by.items())
    # Without root's rights nothing is known of the firewall.
    return "" if without_root and port.reach == "unknown" else REACHES[port.reach]


def _program(port: Port) -> str:
    unit = port.unit.removesuffix(".service")
    return f"{port.program or 'a program'} ({port.unit})" if unit not in ("", port.program) else port.program


def _is_sensitive(port: Port, report: Report) -> bool:
    return port.protocol == "tcp" and port.port in {server.port for server in report.databases if server.port} | {6379}


def _sites(report: Report) -> Iterator[Row]:
    for server in report.web_servers:
        state = "runs" if server.active else "does not run"
        yield Row(f"{server.name} {server.version}".strip(), state)
    for site in report.sites:
        yield Row(_listed(site.names) or "(any name)", _site(site), site.fate)


def _site(site: Site) -> str:
    leads = [f"{proxy.path} -> {proxy.target}" for proxy in site.proxies]
    return _joined(
        site.file,
        f"listens on {_listed(site.listen)}" if site.listen else "",
        f"redirects to {site.redirect}" if site.redirect else "",
        f"root {site.root}" if site.root else "",
        _listed(leads),
    )


def _certificates(report: Report) -> Iterator[Row]:
    for one in report.certificates:
        days = f"{one.days_left} days left" if one.days_left >= 0 else f"ended {-one.days_left} days ago"
        issuer = "self-signed" if one.self_signed else one.issuer
        renewed = f"renewed by {one.renewal}" if one.renewal else ""
        soon = one.days_left < SOON_DAYS
        alone = "" if one.renewal or one.self_signed else "nothing was found that renews it"
        warning = _joined(days if soon else "", alone)
        yield Row(_listed(one.names), _joined(one.path, issuer, "" if soon else days, renewed), one.fate, warning)


def _databases(report: Report) -> Iterator[Row]:
    for one in report.databases:
        state = "runs" if one.running else "does not run"
        where = f"{one.bind}:{one.port}" if one.bind else f"port {one.port}" if one.port else ""
        data = f"data in {one.data_folder}" + (f" ({size(one.data_mb)})" if one.data_mb is not None else "")
        names = _listed([f"{database.name} {size(database.mb)}" for database in one.databases])
        held = f"databases: {names}" if names else f"databases not known: {one.unseen}" if one.unseen else ""
        replica = f"replica set {one.replica_set}" if one.replica_set else ""
        login = "wants a login" if one.authorization and not one.unseen else ""
        warning = "no login needed" if one.authorization is False else ""
        text = _joined(state, where, data if one.data_folder else "", one.config, replica, login, held)
        yield Row(f"{one.kind} {one.version}".strip(), text, one.fate, warning)


def _services(report: Report, is_full: bool) -> Iterator[Row]:
    idle = 0
    for one in report.services:
        if one.by_slipway and not one.state.startswith("active") and not is_full:
            idle += 1
            continue
        kind = "" if one.kind == "systemd" else one.kind
        user = f"as {one.user}" if one.user else ""
        ports = f"ports {_listed(one.ports)}" if one.ports else ""
        variables = f"variables {_listed(one.variables)}" if one.variables else ""
        files = f"from {_listed(one.variables_from)}" if one.variables_from else ""
        folder = f"in {one.folder}" if one.folder else ""
        text = _joined(kind, one.state, f"{user} {folder}".strip(), one.command, ports, f"{variables} {files}".strip())
        yield Row(one.name, text, one.fate)
    if idle:
        yield Row(f"{idle} of Slipway", "do not run now; shown by --verbose")


def _users(report: Report) -> Iterator[Row]:
    for user in report.users:
        password = {True: "has a password", False: "no password", None: ""}[user.password]
        rights = f"sudo: {user.sudo}" if user.sudo else ""
        groups = f"groups {_listed(user.groups)}" if user.groups else ""
        keys = "keys not seen" if user.keys_unseen else f"{len(user.keys)} keys" if len(user.keys) != 1 else "1 key"
        prints = [f"{key.fingerprint} {key.comment}".strip() for key in user.keys]
        yield Row(user.name, _joined(keys, password, rights, groups, _listed(prints)), user.fate)


def _jobs(report: Report, is_full: bool) -> Iterator[Row]:
    packaged = 0
    for job in report.jobs:
        if job.packaged and not is_full:
            packaged += 1
            continue
        user = f"as {job.user}" if job.user else ""
        yield Row(job.name, _joined(job.when, user, job.command), job.fate)
    if packaged:
        yield Row(f"{packaged} of packages", "shown by --verbose")


def _firewall(report: Report) -> Iterator[Row]:
    its = report.firewall
    if not its.seen and report.without_root:
        yield Row("not seen", "without root's rights")
        return
    if its.active:
        yield Row("UFW", its.defaults.removeprefix("Default: "), its.fate)
    else:
        yield Row("UFW", fate=its.fate, warning="inactive")
    yield from (Row(rule.text, fate=rule.fate) for rule in its.rules)
    yield from (Row(other.text, "beside UFW", other.fate) for other in its.others)


def _packages(report: Report, is_full: bool) -> Iterator[Row]:
    its = report.packages
    age = f"lists {its.lists_age_days} days old" if its.lists_age_days is not None else "no lists (apt update)"
    updates = f"{len(its.updates)} pending, {len(its.security_updates)} of security"
    security = len(its.security_updates)
    yield Row("updates", _joined(age, "" if security else updates), warning=updates if security else "")
    if its.reboot_required:
        yield Row("reboot", warning=f"required; newest kernel {report.system.newest_kernel or 'unknown'}")
    for source in its.sources:
        yield Row(source.url, _joined(source.origin, source.file), source.fate)
    for name, items in (("elsewhere", its.elsewhere or []), ("held", its.held), ("snap", its.snaps)):
        if items:
            yield Row(name, _listed(items, is_full))


def show(report: Report, console: Console) -> None:
    """Print a report."""
    console.say(f"[bold]{shown(report.host)}[/]  [dim]as {shown(report.user)}[/]")
    if report.without_root:
        console.say(f"[yellow]{shown(report.without_root)}; not seen: {shown(', '.join(report.unseen))}[/]", "  ")
    if report.refusals:
        console.say("[bold red]slipway apply would stop before any change:[/]", "  ")
        for refusal in report.refusals:
            console.say(shown(refusal), "    - ")
    for section in sections(report, console.level > 0):
        if not section.rows:
            continue
        console.say(f"[bold]{section.title}[/]", "  ")
        for row in section.rows:
            verdict = row.fate.verdict if row.fate else ""
            lead = f"[{STYLES[verdict]}]{verdict:<7}[/]" if verdict else " " * 7
            warning = f"[yellow]{shown(row.warning)}[/]" if row.warning else ""
            text = "; ".join(part for part in (warning, f"[dim]{shown(row.text)}[/]" if row.text else "") if part)
            console.say(f"[bold]{shown(row.name)}[/]  {text}".rstrip(), f"    {lead} ")
            if row.fate and row.fate.reason:
                console.say(shown(row.fate.reason), "              -> ")


def shown(text: str) -> str:
    """What a host says, for rich."""
    return escape(plain(text))


def as_html(report: Report) -> str:
    """A page that needs nothing but itself."""
    shown = [section for section in sections(report, is_full=True) if section.rows]
    return page("inspection.html", report=report, sections=shown, meanings=MEANINGS)
