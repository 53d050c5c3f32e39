"""Existing jobs and log rotation that would fail, or conflict with Slipway's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from textwrap import shorten

from slipway.adoption import Obstacle, own_services, setting
from slipway.adoption.network import listeners
from slipway.settings.model import Settings

MONGODB_TOOL = re.compile(r"\bmongo(dump|export|restore|import|sh)?\b(?!d\.)")
HAS_PASSWORD = re.compile(r"mongodb(\+srv)?://[^/\s]+@|(\s|^)(-u|--username)[ =]?\S")
STOPS_NGINX = re.compile(r"\b(stop|start|restart)\s+nginx\b|nginx\s+(stop|start|restart)|-s\s+(stop|quit)")
FIREWALL = re.compile(r"\b(ufw|ip6?tables(-restore)?|nft)\b")
CERTBOT, OTHER_CLIENT = re.compile(r"\bcertbot\b"), re.compile(r"\bdehydrated\b|acme\.sh")
# Characters of a job's line.
MAX_SHOWN = 70
# Files of packages that Slipway installs.
PACKAGED = {"nginx", "certbot", "ufw", "fail2ban", "unattended-upgrades", "aide"}

# Names of the same zone.
UTC = {*("UTC", "UCT", "Universal", "Zulu"), *("Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu")}


def obstacles(
    earlier: Mapping[str, str], settings: Settings, is_open: bool, has_sites: bool = False
) -> Iterator[Obstacle]:
    """`is_open`: MongoDB has no authentication now, and will. `has_sites`: some site is on the server."""
    roots = [site.site_root for site in settings.all_sites]
    own = own_services(settings) | {"mongod.service", "nginx.service"}
    for line in earlier.get("jobs", "").splitlines():
        file, _, command = line.partition(":")
        if file.rpartition("/")[2] not in own and (need := _need(command, roots, is_open)):
            name = shorten(command, MAX_SHOWN, placeholder=" ...")
            yield Obstacle(f"{file}: {name}", "this job", need)
    yield from _in_scripts(earlier.get("scripts", ""), roots, is_open)
    zone = other_zone(earlier, settings)
    if zone and (users := _users_of_zone(earlier, zone, has_sites)):
        yield Obstacle("time zone", f"{zone}, by which {' and '.join(users)} run", setting("timezone", zone))
    for file in earlier.get("rotated", "").split():
        if file.rpartition("/")[2] not in PACKAGED:
            found = "the logs of a package with its own file: logrotate(8) rejects duplicates"
            yield Obstacle(file, found, "no such file")


def other_zone(earlier: Mapping[str, str], settings: Settings) -> str:
    """The server's time zone, if `timezone` is another one."""
    zone = earlier.get("timezone", "").strip()
    return zone if zone != settings.timezone and {zone, settings.timezone} - UTC else ""


def _users_of_zone(earlier: Mapping[str, str], zone: str, has_sites: bool) -> list[str]:
    """What of the owner's goes by it. Applications may show times in it; that it is UTC means little to them."""
    users = earlier.get("local times", "").splitlines()
    if zone in UTC:
        return [one for one in users if one != "containers"]
    listening = {one.unit for one in listeners(earlier)} & {*earlier.get("services", "").split()}
    return [*users, *(["sites"] if has_sites else sorted(listening))]


def _in_scripts(text: str, roots: list[str], is_open: bool) -> Iterator[Obstacle]:
    """What is in the scripts of jobs, once for each of its needs."""
    scripts: dict[str, list[str]] = {}
    for line in text.splitlines():
        file, _, command = line.partition(":")
        scripts.setdefault(file, []).append(command.strip())
    for file, commands in scripts.items():
        # The password may be in a line of its own.
        is_refused = is_open and not any(HAS_PASSWORD.search(command) for command in commands)
        # A script that is in the site's folder names that.
        elsewhere = [root for root in roots if not file.startswith(f"{root}/")]
        needs: dict[str, str] = {}
        for command in commands:
            needs.setdefault(_need(command, elsewhere, is_refused), command)
        for need, command in needs.items():
            if need:
                name = shorten(command, MAX_SHOWN, placeholder=" ...")
                yield Obstacle(f"{file}: {name}", "this in a script that a job runs", need)


def _need(command: str, roots: list[str], is_open: bool) -> str:
    if CERTBOT.search(command):
        return "none: certbot.timer renews each certificate of certbot's"
    if OTHER_CLIENT.search(command):
        return "none if it renews the sites' certificates only, which certbot will; for other names keep it"
    if MONGODB_TOOL.search(command) and is_open and not HAS_PASSWORD.search(command):
        return "one with a MongoDB user and password, which will be required"
    if STOPS_NGINX.search(command):
        return "one that reloads Nginx"
    if FIREWALL.search(command):
        return "none: firewall_allow names the open ports"
    if any(root in command for root in roots):
        return "none that changes the site's files: a release replaces them"
    return ""
