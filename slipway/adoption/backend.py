"""The previous backend: what it has that Slipway's would lack."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from slipway.adoption import Obstacle, backend_data, backend_unit, setting
from slipway.adoption.network import LOOPBACK
from slipway.settings.environment import environment_of
from slipway.settings.model import Settings

UNITS = "/etc/systemd/system"
APP = re.compile(r"(?<![\w./-])([A-Za-z_][\w.]*:[A-Za-z_]\w*)(?=\s|$|\(\))")
ASSIGNED = re.compile(r"(?:\"([A-Za-z_]\w*)=[^\"]*\"|'([A-Za-z_]\w*)=[^']*'|([A-Za-z_]\w*)=\S*)")
# Variables of every process, of the interpreter and of the application server.
ORDINARY = re.compile(r"PATH|HOME|USER|LANG|LC_\w+|TZ|PYTHON\w*|VIRTUAL_ENV|PORT|HOST|PWD|SHELL|WEB_CONCURRENCY")


def unit_names(site: Settings) -> list[str]:
    """The units that Slipway creates for a site's services, whose names may be taken."""
    names = [
        f"{site.unit(one)}{end}.{kind}"
        for one in site.web_services
        for end in ("", "-next")
        for kind in ("service", "socket")
    ]
    return [
        *names,
        *(f"{site.unit(one)}.{kind}" for one in site.services if not one.app for kind in ("service", "timer")),
    ]


def obstacles(earlier: Mapping[str, str], site: Settings) -> Iterator[Obstacle]:
    unit = f"{site.backend_unit}.service"
    text = earlier.get(f"unit {unit}", "")
    file = text.partition("\n")[0].removeprefix("path=")
    if file and not file.startswith(f"{UNITS}/"):
        need = f"it in {UNITS}, which Slipway backs up: mv {file} {UNITS}/ && systemctl daemon-reload"
        yield Obstacle(f"unit {unit}", f"it in {PurePosixPath(file).parent}", need, may_go=False)
    dropins = [name for name in earlier if name.startswith(f"file /etc/systemd/system/{unit}.d/")]
    for name in dropins:
        file = name.removeprefix("file ")
        if not file.endswith("/slipway.conf"):
            yield Obstacle(file, "a drop-in that would also apply to Slipway's unit", "no such file", may_go=False)
    lines = "\n".join([text, *(earlier[name] for name in dropins)]).splitlines()
    yield from backend_unit.lost(lines, unit, (site.site_root,))
    folder_is_theirs = backend_data.is_theirs(earlier, site)
    variables = {name for line in lines if line.strip().startswith("Environment=") for name in _assigned(line)}
    if folder_is_theirs:
        variables |= {*earlier.get(f"environment {site.site_root}", "").split()}
    known = {*site.backend_secrets, *environment_of(site, site.backend)}
    for name in sorted(variables - known):
        if not ORDINARY.fullmatch(name):
            need = "it in backend_environment, or in backend_secrets if it is secret"
            yield Obstacle(f"{unit}: {name}", "this variable in its environment or its .env", need)
    yield from backend_data.written(earlier, site)
    yield from backend_data.stores(earlier, site)
    apps = [app for line in lines if line.strip().startswith("ExecStart=") for app in APP.findall(line)]
    if folder_is_theirs and apps and apps[0] != site.backend_app:
        yield Obstacle(f"{unit}: ExecStart", f"the application {apps[0]}", setting("backend_app", apps[0]))


def programs(earlier: Mapping[str, str], site: Settings) -> Iterator[Obstacle]:
    """Other programs that run in the site's folders: workers of supervisor's, pm2's, of users."""
    found: dict[str, list[str]] = {}
    for line in earlier.get(f"programs {site.site_root}", "").splitlines():
        unit, _, name = line.partition(" ")
        found.setdefault(name if unit == "-" else unit, []).append(name)
    for holder, names in found.items():
        running = ", ".join(dict.fromkeys(name for name in names if name != "it" or names == ["it"]))
        found_now = f"{running} running in a folder of {site.site_root} that becomes a link to releases"
        yield Obstacle(holder, found_now, "it as one of `services`, or a folder of its own")


def callers(
    earlier: Mapping[str, str], site: Settings, is_open: set[int] | None, proxied: Collection[int]
) -> Iterator[Obstacle]:
    """Who uses the port of the previous backend without Nginx. `is_open` is from ufw.open_ports, `proxied` are the
    ports that Nginx leads to."""
    lines = [line.split(" ", 2) for line in earlier.get(f"callers {site.site_root}", "").splitlines()]
    kept = site.backend_listen.rpartition(":")[2] if site.backend_is_tcp else ""
    for port in dict.fromkeys(port for port, *_ in lines):
        said = [(how, what) for number, how, what in lines if number == port]
        name = f"port {port} of {site.backend_unit}.service"
        hosts, users = ([what for how, what in said if how == one] for one in ("from", "by"))
        is_public = any(how == "at" and not LOOPBACK.match(what) for how, what in said)
        is_direct = is_public and int(port) not in proxied and (is_open is None or int(port) in is_open)
        if hosts or is_direct:
            found = f"other hosts using it ({', '.join(hosts)})" if hosts else "it public, and no way of Nginx's to it"
            yield Obstacle(name, f"{found}: Slipway's backend is behind Nginx", f"them at https://{site.site_domain}")
        if users and port != kept:
            found = f"{', '.join(users)} using it: Slipway's backend listens on {site.backend_listen}"
            need = setting("backend_listen", f"127.0.0.1:{port}")
            yield Obstacle(name, found, f"{need}, or them at https://{site.site_domain}")


def _assigned(line: str) -> list[str]:
    return [next(filter(None, found)) for found in ASSIGNED.findall(line.partition("Environment=")[2])]
