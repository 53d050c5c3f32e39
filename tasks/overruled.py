"""Configuration files that are read after Slipway's and override them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from pyinfra import host

from slipway.adoption import Obstacle, setting
from slipway.engine import run
from slipway.facts.base import Output
from slipway.settings.model import Settings
from slipway.tasks import packages, updates
from slipway.tasks.adoption_facts import earlier

# The sandbox and limit options of Slipway's units. systemd.exec(5), systemd.resource-control(5)
OF_UNITS = (
    "Protect[A-Za-z]+|Private[A-Za-z]+|Restrict[A-Za-z]+|NoNewPrivileges|SystemCall[A-Za-z]+|[A-Za-z]*Capabilit[A-Za-z]+"
    "|MemoryDenyWriteExecute|LockPersonality|ReadWritePaths|MemoryHigh|MemoryMax|TasksMax|OOMScoreAdjust|User|Group"
    "|ExecStart|DynamicUser|IPAddress[A-Za-z]+|UMask|LimitNOFILE"
)
# Slipway's file, an extended regular expression of its options, and the files in the same folder.
BESIDE = (
    ("slipway.conf", "^[[:space:]]*(SystemMaxUse|Storage)=", "/etc/systemd/journald.conf.d/*.conf"),
    ("slipway.conf", "^[^#]*[[:space:]]core[[:space:]]", "/etc/security/limits.d/*.conf"),
    ("slipway.local", "^[[:space:]]*(bantime[[:space:]]*=|\\[)", "/etc/fail2ban/jail.d/*.local"),
)
# Of lines "FILE:LINE", those in sections of Slipway's jails, which precede [DEFAULT]: the times of another jail are its
# owner's.
IN_SECTIONS = r"""awk -F: '{
  line = substr($0, length($1) + 2)
  if ($1 != file) { file = $1; is_ours = 1 }
  if (line ~ /^[ \t]*\[/) is_ours = line ~ /^[ \t]*\[(sshd|nginx-limit-req)\]/; else if (is_ours) print
}'"""
# sshd's own options that precede its files, sshd(8), in what Debian's unit reads and in the unit itself. `sshd -T` does
# not tell of them.
OF_SSHD = "^[^#]*(SSHD_OPTS|ExecStart)=(.*[^A-Za-z0-9])?-[A-Za-z0-9]*[bcfghop]"
SSHD_FILES = "/etc/default/ssh /etc/systemd/system/ssh.service /etc/systemd/system/ssh.service.d/*.conf"
# A test of the shell itself compares bytes, as systemd, apt and PAM do; a process for each file takes far longer.
AFTER = """\
after() {
  ours=$1; pattern=$2; shift 2
  for file do
    shift
    [ ! "${file##*/}" \\> "$ours" ] || set -- "$@" "$file"
  done
  [ $# = 0 ] || grep -HEs -e "$pattern" -- "$@"
}
"""
# The lists of unattended-upgrades that say what it installs, as apt-config(8) names their entries.
ORIGINS = ("unattended-upgrade::origins-pattern::", "unattended-upgrade::allowed-origins::")
# Prints apt's options: "ours NAME "VALUE";" by Slipway's files alone, and "all ..." by them among the host's. Only apt
# knows its syntax of blocks, and that apt.conf is read last.
OF_APT = """\
folder=$(mktemp -d) && cd $folder && mkdir ours all || exit
{write}
ln -sf /etc/apt/apt.conf.d/* all; ln -sf $folder/ours/* all
for part in ours all; do
  main=/etc/apt/apt.conf; [ $part = all ] || main=/dev/null
  echo "Dir::Etc::Parts \\"$folder/$part\\"; Dir::Etc::Main \\"$main\\";" > $part.conf
  APT_CONFIG=$folder/$part.conf apt-config dump |
    sed -nE "s/^(apt::periodic|unattended-upgrade|dpkg::lock)::/$part &/Ip"
done
rm -r $folder"""


def overruled(settings: Settings) -> Iterator[Obstacle]:
    """Lines that override Slipway's files. Files are read in the order of their names."""
    beside = [f"after {ours} '{pattern}' {files}" for ours, pattern, files in BESIDE]
    lines = ["{", *beside, f"}} | {IN_SECTIONS}"]
    deployed = run.of(host.state).deployed
    if "ssh" in deployed:
        lines.append(f"after '' '{OF_SSHD}' {SSHD_FILES}")
    dropins = "/etc/systemd/system/{}.d/*.conf"
    for unit in ("nginx.service", "mongod.service"):
        lines.append(f"after slipway.conf '^({OF_UNITS})=' {dropins.format(unit)}")
    # For a backend that is not Slipway's yet, adoption.backend reports them.
    for site in [] if earlier(settings) else settings.all_sites:
        for one in site.all_services:
            # Drop-ins come after the unit itself, whatever their names.
            lines.append(f"after '' '^({OF_UNITS})=' {dropins.format(f'{site.unit(one)}.service')}")
    for line in host.get_fact(Output, command=AFTER + "\n".join(lines)).splitlines():
        file, _, text = line.partition(":")
        said = re.sub(r"\s+", " ", text.strip())
        yield Obstacle(f"{file}: {said}", "this line, which overrides Slipway's", "no such line")
    yield from _of_apt(apt_files(settings), settings)


def apt_files(settings: Settings) -> dict[str, str]:
    """The texts of Slipway's files in apt.conf.d, by their names."""
    files = packages.files(settings)
    files |= updates.files(settings) if "updates" in run.of(host.state).deployed else {}
    folder = "/etc/apt/apt.conf.d/"
    return {path.removeprefix(folder): text for path, text in files.items() if path.startswith(folder)}


def _reboots(now: Mapping[str, list[str]], settings: Settings) -> dict[str, str]:
    """By apt's options for reboots, the setting that says the same as the host's file."""
    does_reboot, at = (now.get(f"unattended-upgrade::automatic-reboot{of}", [""])[-1] for of in ("", "-time"))
    found = {}
    if does_reboot in ("false", "0"):
        found["unattended-upgrade::automatic-reboot"] = setting("reboot_time", "")
    # Of several servers with one reboot_time it is moved.
    elif re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at) and at != settings.reboot_time:
        found["unattended-upgrade::automatic-reboot-time"] = setting("reboot_time", at)
    return found


def _of_apt(files: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    write = "\n".join(f"printf %s {shlex.quote(text)} > ours/{name}" for name, text in files.items())
    values: dict[str, dict[str, list[str]]] = {"ours": {}, "all": {}}
    names: dict[str, str] = {}
    for line in host.get_fact(Output, command=OF_APT.format(write=write)).splitlines():
        if found := re.fullmatch(r'(ours|all) (\S+) "(.*)";', line):
            names.setdefault(found[2].lower(), found[2])
            values[found[1]].setdefault(found[2].lower(), []).append(found[3])
    ours, now = values["ours"], values["all"]
    ways = _reboots(now, settings)
    if settings.reboot_time and "unattended-upgrade::automatic-reboot" in ways:
        # Without reboots their time is of no account.
        ours.pop("unattended-upgrade::automatic-reboot-time", None)
    # With a mistake in one of the host's files apt prints none, and says so where packages are asked for.
    for name in [*ours, *(name for name in ORIGINS if name not in ours)] if now else []:
        if now.get(name, []) != ours.get(name, []):
            option = names[name].rstrip(":")
            said = ", ".join(value for value in now.get(name, []) if value not in ours.get(name, [])) or "nothing"
            wanted = ", ".join(ours.get(name, [])) or "nothing"
            found_now = f"{said!r} by a file that apt reads after Slipway's"
            need = f"{wanted!r} (grep -rn {option.rpartition('::')[2]} /etc/apt/apt.conf*)"
            need = f"{ways[name]}, or {need}" if name in ways else need
            yield Obstacle(f"apt: {option}", found_now, need)
