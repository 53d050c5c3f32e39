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
# As programs, not in the names of files such as /var/log/ufw.log; and what of them only reads.
FIREWALL = re.compile(r"(^|[\s;&|(\"'=]|bin/)(ufw|ip6?tables(-restore)?|nft)(?=[\s;\"')]|$)")
READS_FIREWALL = re.compile(
    r"\b(ufw (status|show|version)|nft (-\S+ )*list|ip6?tables (-t \w+ )?(-[nvx]+ )*(-[nvx]*[LS]\w*|--list\S*))\b"
)
CERTBOT = re.compile(r"(?<![\w.-])certbot(-auto)?\s+(?!certificates|--version|-h|--help)")
# A renewal leaves alone what is not due. These options are for all certificates, and certbot stores some of them.
RENEWAL = re.compile(r"(?<![\w.-])certbot\s(?P<first>((?!certbot\s).)*?)\brenew\b(?P<last>.*)")
CHANGES_RENEWALS = re.compile(
    r"\s(--(standalone|nginx|apache|webroot|manual|dns-|authenticator|installer|configurator|preferred-|server\b"
    r"|staging|test-cert|force-renew|renew-by-default|pre-hook|key-type|rsa-key-size|elliptic-curve)|-[aiw]\s)"
)
# Programs that read the files that they name, and those that copy the first ones to the last one.
READERS = re.compile(
    r"(^|[\s/(])(tar\s+-?[a-zA-Z]*c[a-zA-Z]*|tar\s.*\s--create|restic\s.*backup|borg\s.*create|zip(?!.*\s-\w*m)|du|ls|wc"
    r"|cat|grep|stat|find|sha\d+sum|md5sum)(\s|$)"
)
COPIERS = re.compile(r"(^|[\s/(])(rsync|cp|scp|rclone|duplicity)\s")
CHANGES_FILES = re.compile(r"\s(--remove-(source-)?files|-delete|-exec\w*|-ok\w*)(\s|$)")
# Behind a pipe, what runs programs, and what writes into the current folder.
RUNS, WRITES = re.compile(r"(^|[\s/])(xargs|sh|bash|while|parallel)(\s|$)"), re.compile(r"(^|[\s/])(tee|tar)\s")
REDIRECTION = re.compile(r"[\d&]*>+\s*&?\S+")
# The file that a program writes.
OUTPUT = re.compile(r"(?:>+\s*(?!&)|tar\s+-?[a-zA-Z]*f\s+|\s-f\s*|\s--file[= ]|zip\s+(?:-\S+\s+)*)(?P<file>[^\s>]+)")
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


def remarks(earlier: Mapping[str, str]) -> Iterator[str]:
    """Jobs that do what Slipway does, too, and no harm."""
    for line in earlier.get("jobs", "").splitlines():
        file, _, command = line.partition(":")
        if renews(command):
            yield f"{file}: a renewal by certbot, which is no longer needed: certbot.timer renews"


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
    if CERTBOT.search(command) and not renews(command):
        return "none: certbot.timer renews each certificate of certbot's"
    if MONGODB_TOOL.search(command) and is_open and not HAS_PASSWORD.search(command):
        return "one with a MongoDB user and password, which will be required"
    if STOPS_NGINX.search(command):
        return "one that reloads Nginx"
    if FIREWALL.search(READS_FIREWALL.sub("", command)):
        return "none: firewall_allow names the open ports"
    if any(_changes(command, root) for root in roots):
        return "none that changes the site's files: a release replaces them"
    return ""


def renews(command: str) -> bool:
    """Whether it is a renewal by certbot that does no more than certbot.timer."""
    found = RENEWAL.search(command)
    return found is not None and not CHANGES_RENEWALS.search(f" {found['first']} {found['last']} ")


def _changes(command: str, root: str) -> bool:
    """Whether a command line may change what is in a folder: it names it, and does not only read it."""
    # Not another site's, nor a place below another folder, on another host or in a container.
    named = re.compile(rf"(?<![\w.:/-]){re.escape(root)}(?![\w.-])")
    is_inside = has_read = False
    for part in re.split(r"&&|\|\||;", command):
        first, *filters = part.split("|")
        if re.search(rf"\bcd\s+['\"]?{named.pattern}", first):
            is_inside = True
        elif is_inside or named.search(part):
            has_read = True
            if not _only_reads(first, named, is_inside) or any(_writes(one, named, is_inside) for one in filters):
                return True
    # What follows in a script is in a line of its own.
    return is_inside and not has_read


def _only_reads(command: str, named: re.Pattern[str], is_inside: bool) -> bool:
    written = OUTPUT.findall(command)
    is_written = any(named.search(file) or (is_inside and not file.startswith(("/", "-"))) for file in written)
    if is_written or CHANGES_FILES.search(command):
        return False
    if COPIERS.search(command):
        return not named.search(REDIRECTION.sub("", command).split()[-1])
    return bool(READERS.search(command))


def _writes(command: str, named: re.Pattern[str], is_inside: bool) -> bool:
    """Whether it may write into the folder what another command has printed."""
    return bool(named.search(command) or RUNS.search(command) or (is_inside and WRITES.search(command)))
