"""Existing jobs and log rotation that would fail, or conflict with Slipway's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from textwrap import shorten

from slipway.adoption import Obstacle, own_services, setting
from slipway.settings.model import Settings

MONGODB_TOOL = re.compile(r"\bmongo(dump|export|restore|import|sh)?\b(?!d\.)")
HAS_PASSWORD = re.compile(r"mongodb(\+srv)?://[^/\s]+@|(\s|^)(-u|--username)[ =]?\S")
STOPS_NGINX = re.compile(r"\b(stop|start|restart)\s+nginx\b|nginx\s+(stop|start|restart)|-s\s+(stop|quit)")
FIREWALL = re.compile(r"\b(ufw|ip6?tables(-restore)?|nft)\b")
RENEWS = re.compile(r"\b(certbot|dehydrated)\b|acme\.sh")
# Characters of a job's line.
MAX_SHOWN = 70
# Files of packages that Slipway installs.
PACKAGED = {"nginx", "certbot", "ufw", "fail2ban", "unattended-upgrades", "aide"}

# Names of the same zone.
UTC = {*("UTC", "UCT", "Universal", "Zulu"), *("Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu")}


def obstacles(earlier: Mapping[str, str], settings: Settings, is_open: bool) -> Iterator[Obstacle]:
    """`is_open`: MongoDB has no authentication now, and will."""
    roots = [site.site_root for site in settings.all_sites]
    own = own_services(settings) | {"mongod.service", "nginx.service"}
    for line in earlier.get("jobs", "").splitlines():
        file, _, command = line.partition(":")
        if file.rpartition("/")[2] not in own and (need := _need(command, roots, is_open)):
            name = shorten(command, MAX_SHOWN, placeholder=" ...")
            yield Obstacle(f"{file}: {name}", "this job", need)
    zone = earlier.get("timezone", "").strip()
    if zone and {zone, settings.timezone} - UTC and zone != settings.timezone:
        found = f"{zone}, by which cron jobs and timers run"
        yield Obstacle("time zone", found, setting("timezone", zone))
    for file in earlier.get("rotated", "").split():
        if file.rpartition("/")[2] not in PACKAGED:
            found = "the logs of a package with its own file: logrotate(8) rejects duplicates"
            yield Obstacle(file, found, "no such file")


def _need(command: str, roots: list[str], is_open: bool) -> str:
    if RENEWS.search(command):
        return "none: certbot.timer renews each certificate"
    if MONGODB_TOOL.search(command) and is_open and not HAS_PASSWORD.search(command):
        return "one with a MongoDB user and password, which will be required"
    if STOPS_NGINX.search(command):
        return "one that reloads Nginx"
    if FIREWALL.search(command):
        return "none: firewall_allow names the open ports"
    if any(root in command for root in roots):
        return "none that changes the site's files: a release replaces them"
    return ""
