"""Backups of databases and uploads with point-in-time recovery, in restic repositories; and restore drills."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pyinfra import host
from pyinfra.api import operation

from slipway.backups import (
    chain,
    copying,
    exchange,
    members,
    mongo,
    oplog,
    parallel,
    replacing,
    restic,
    restoring,
    slicing,
    steps,
)
from slipway.backups import host as backup_host
from slipway.backups import program as backup_program
from slipway.backups.host import CACHE, STATE, Facts
from slipway.engine import notes
from slipway.engine.components import Drift, component, component_step
from slipway.facts import mongodb_members, mongodb_protocol, mongodb_set
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.ops.files import put, put_all
from slipway.ops.templates import render
from slipway.ops.units import know, service
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings.backup import secret_names
from slipway.settings.balancing import AUTHORITY_FILE
from slipway.settings.members import backs_up, has_certificates
from slipway.settings.model import Settings
from slipway.tasks.credentials import host_secrets
from slipway.tasks.mongodb_set import member
from slipway.tasks.mongodb_users import alone
from slipway.tasks.release_steps import FOLDER, place_of, text_of

PACKAGES = ["restic", "python3", "util-linux"]
PROGRAM, FACTS = f"{FOLDER}/backup", f"{FOLDER}/backup.json"
KNOWN_HOSTS = "/etc/slipway-backup.known_hosts"
UNITS = "/etc/systemd/system"
SETTLE, REOPEN, NEEDS_SETTLED = (
    "slipway-settle.service",
    "slipway-reopen.service",
    "mongod.service.d/slipway-backup.conf",
)
MODULES = (
    *(chain, exchange, oplog, backup_host, parallel, restic, mongo, members, slicing, steps),
    *(replacing, restoring, copying),
    *(mongodb_members, mongodb_protocol, mongodb_set),
)


class Job(NamedTuple):
    """A scheduled job."""

    unit: str
    step: str
    what: str
    when: list[str]
    memory_mb: int
    timeout: str


def jobs(settings: Settings) -> list[Job]:
    slices = settings.backup_slice_seconds
    by_minute = ["OnBootSec=60", f"OnUnitActiveSec={slices}", "AccuracySec=1"]
    daily = [f"OnCalendar={settings.backup_time}", "RandomizedDelaySec=30min", "Persistent=true"]
    early = ["OnCalendar=05:30", "RandomizedDelaySec=1h"]
    # restic runs for all repositories at once.
    slices_mb = 512 if len(settings.backup_repositories) < 2 else 1024
    # The drill restores a random second of the week.
    weekly = ["OnCalendar=Sun 04:00", "RandomizedDelaySec=2h", "Persistent=true"]
    return [
        Job("slipway-backup", "now", "Full backup of databases and uploads", daily, 1024, "12h"),
        Job("slipway-slice", "slice", "Backup of what was written since the last one", by_minute, slices_mb, "15min"),
        Job("slipway-check", "check", "Check of the backups", early, 1024, "6h"),
        Job("slipway-drill", "drill", "Drill: restore of the backups beside the data", weekly, 1024, "12h"),
    ]


def timers(settings: Settings) -> list[str]:
    return [f"{job.unit}.timer" for job in jobs(settings)]


def is_wanted(settings: Settings) -> bool:
    """Whether this host makes backups: one of a replica set's does, of whatever is written to any."""
    return bool(settings.backup_repositories) and backs_up(settings)


def problems(settings: Settings) -> list[str]:
    """What prevents backups on this host."""
    if not settings.mongodb_replica_set:
        return ['mongodb_replica_set: found "", need a name: without an oplog nothing can be restored to the second']
    found = [] if settings.mongodb_tools else ["mongodb_tools: found False, need True: mongodump makes the backups"]
    return found + _problems_of_uploads(settings)


def uploads_elsewhere(settings: Settings) -> dict[str, str]:
    """The folders of uploads on a host that is no application server, where no apply makes them. With each the folder
    of its site, if what is mounted below that has them; "" if they must only be there."""
    if "app" in host.groups:
        return {}
    found: dict[str, str] = {}
    for site in settings.all_sites:
        folders = [site.shared_places[path] for path in site.shared_paths]
        folders += [f"{site.site_root}/shared-files"] if site.shared_files else []
        found |= dict.fromkeys(folders, site.site_root if site.shared_storage == "mounted" else "")
    return found


def _problems_of_uploads(settings: Settings) -> list[str]:
    wanted = uploads_elsewhere(settings)
    if not wanted:
        return []
    script = "; ".join(f"{is_there(folder, root)} || echo {folder}" for folder, root in wanted.items())
    missing = host.get_fact(Output, command=script).split()
    return [
        f"backups: found {'nothing mounted at' if root else 'no'} {folder} on this host, which makes them, need it, or"
        " uploads are in no backup: mount what the application servers have there"
        + ("" if root else "; an empty folder there says that they need no backup")
        for folder, root in wanted.items()
        if folder in missing
    ]


def is_there(folder: str, root: str) -> str:
    """A shell test of one of `uploads_elsewhere`."""
    # This mounts what is mounted on demand.
    is_folder = f"[ -d {folder}/. ]"
    if not root:
        return is_folder
    above = [one for one in map(str, PurePosixPath(folder).parents) if one.startswith(f"{root}/")]
    mounted = " || ".join(f"mountpoint -q {one}" for one in [folder, *above])
    # A host with files there may be the one that has them for the others.
    return f'{{ {is_folder} && {{ {mounted} || [ -n "$(ls -A {folder})" ]; }}; }}'


def health(settings: Settings) -> dict[str, str]:
    """Shell tests of whether the timers' jobs have run recently."""
    fresh = f"{PROGRAM} fresh"
    return {f"{job.unit}.timer": f"{fresh} {job.step}" for job in jobs(settings) if job.step != "check"}


def drifts(settings: Settings) -> dict[str, Drift]:
    return {
        "backups disabled": Drift("systemctl disable --now slipway-backup.timer", "Start the backups' timers"),
        "the backups' program edited": Drift(f"echo '# edited' >> {PROGRAM}", "Install the backups' program"),
        "the backups' repository changed": Drift(f"sed -i 's/near/far/' {FACTS}", "Configure the backups"),
        "the backups' password readable": Drift(
            f"chmod 644 {settings.credentials_folder}/BACKUP_PASSWORD", "Install the backups' secrets"
        ),
    }


@component(
    roles=("db",),
    needs=("mongodb",),
    wanted=is_wanted,
    packages=PACKAGES,
    units=timers,
    health=health,
    reports={title: f"{PROGRAM} tell {title}" for title in ("backup", "drill")},
    versions={"restic": "restic version 2> /dev/null | cut -d' ' -f2"},
    preflight=problems,
    drifts=drifts,
)
def backup(settings: Settings) -> None:
    names = secret_names(settings.backup_repositories, settings.backup_secrets)
    host_secrets(name="Install the backups' secrets", settings=settings, names=names)
    if settings.backup_known_hosts:
        content = "".join(f"{line}\n" for line in settings.backup_known_hosts)
        put(name="Install the host keys of the backups' servers", path=KNOWN_HOSTS, content=content)
    put_all(
        name="Install the modules of the backups' program",
        files={place_of(module): text_of(module) for module in MODULES},
    )
    put(
        name="Install the backups' program",
        path=PROGRAM,
        content=text_of(backup_program),
        mode="755",
        check="{} --help > /dev/null",
    )
    put(name="Configure the backups", path=FACTS, content=json.dumps(facts(settings)._asdict(), indent=2) + "\n")
    put_all(name="Configure the backups' timers", files=unit_files(settings))
    know(name="Reload systemd for the backups", unit="slipway-backup.service")
    know(name="Reload systemd for MongoDB's start", unit="mongod.service")
    for job in jobs(settings):
        service(name="Start the backups' timers", unit=f"{job.unit}.timer")
    begin(name="Make the first full backup", settings=settings)


def facts(settings: Settings) -> Facts:
    """The program's configuration."""
    folder = settings.credentials_folder
    made_up = [
        f"{site.credentials_folder}/{name}"
        for site in settings.all_sites
        for name in site.generated_secrets
        if name in site.backend_secrets
    ]
    kept = [place for site in settings.all_sites for place in site.shared_places.values()]
    credentials = [site.credentials_folder for site in settings.all_sites]
    return Facts(
        repositories=settings.backup_repositories,
        credentials=folder,
        variables=[name for name in settings.backup_secrets if name != "BACKUP_SSH_KEY"],
        known_hosts=KNOWN_HOSTS,
        paths=[*dict.fromkeys([*credentials, *kept, *settings.backup_paths])],
        address=settings.mongodb_local,
        port=settings.mongodb_port,
        admin=settings.mongodb_admin_user,
        data=settings.mongodb_data,
        mongod=_mongod(settings),
        replica_set=settings.mongodb_replica_set,
        member=member(settings),
        flags=[f"{site.site_root}/maintenance" for site in settings.all_sites],
        units=[
            f"{site.unit(one)}.service"
            for site in settings.all_sites
            for one in site.all_services
            if one.is_web or one.is_worker
        ],
        secrets=made_up,
        daily=settings.backup_keep_daily,
        weekly=settings.backup_keep_weekly,
        monthly=settings.backup_keep_monthly,
        days=settings.backup_keep_seconds_days,
        prunes=settings.backup_prune,
        check=settings.backup_check,
        anonymise=settings.backup_anonymise,
        seconds=settings.limits.ready,
        authority=AUTHORITY_FILE if has_certificates(settings) else "",
        uploads=uploads_elsewhere(settings),
        timers=[f"{site.unit(one)}.timer" for site in settings.all_sites for one in site.all_services if one.schedule],
        named=settings.backup_paths,
    )


def _mongod(settings: Settings) -> list[str]:
    """The command of a mongod with the same data layout, without its data folder."""
    words = shlex.split(alone(settings))
    return [words[0], *words[3:]]


def unit_files(settings: Settings) -> dict[str, str]:
    files = {}
    local = [place for place in settings.backup_repositories.values() if place.startswith("/")]
    secrets = [MONGODB_ADMIN, *secret_names(settings.backup_repositories, settings.backup_secrets)]
    for job in jobs(settings):
        drills = [settings.mongodb_data.rpartition("/")[0]] if job.step == "drill" else []
        values: dict[str, Any] = {
            **job._asdict(),
            "program": PROGRAM,
            "secrets": secrets,
            "folder": settings.credentials_folder,
            # A missing repository is created, so its parent folder must be writable.
            "writable": [*(f"-{place.rpartition('/')[0] or '/'}" for place in local), *drills],
        }
        files[f"{UNITS}/{job.unit}.service"] = render("backup/slipway-backup.service", **values)
        files[f"{UNITS}/{job.unit}.timer"] = render("backup/slipway-backup.timer", **values)
    # Before MongoDB starts, and outside its sandbox: there the data folder is a mount point and can't be replaced.
    data, paths = settings.mongodb_data, facts(settings).paths
    traces = [f"{data}/{replacing.MARK}", *(f"{path}.exchange" for path in (data, *paths))]
    files[f"{UNITS}/{SETTLE}"] = render(f"backup/{SETTLE}", program=PROGRAM, data=data, traces=traces)
    files[f"{UNITS}/{REOPEN}"] = render(f"backup/{REOPEN}", program=PROGRAM)
    files[f"{UNITS}/{NEEDS_SETTLED}"] = f"[Unit]\nRequires={SETTLE}\nAfter={SETTLE}\n"
    return files


# Prints "none" where one of some repositories has had no full backup.
WITHOUT_FULL = """\
import json, sys
state = json.load(open("{state}"))
have = {{**state.get("fulls", {{}}), **state.get("sliced", {{}})}} if "full" in state else {{}}
print("" if {{*sys.argv[1:]}} <= {{*have}} else "none")"""


@operation()
def begin(settings: Settings) -> Commands:
    """Start the first full backup, also that of a repository which was added later, without waiting for it."""
    # While it runs, a job that runs once is activating.
    is_running = "systemctl is-active slipway-backup | grep -qx 'activ.*'"
    script = WITHOUT_FULL.format(state=f"{STATE}/state.json")
    names = " ".join(map(shlex.quote, settings.backup_repositories))
    missing = f"{is_running} || python3 -c {shlex.quote(script)} {names} 2> /dev/null || echo none"
    if host.get_fact(Output, command=missing).strip() != "none":
        return
    notes.note(f"slipway-backup.service: starts (journalctl -u slipway-backup); its cache is {CACHE}")
    yield "systemctl start --no-block slipway-backup.service"


@component_step(after="backup")
def switch_off(settings: Settings) -> None:
    stop_unwanted(name="Stop backups where they are switched off", settings=settings)


@operation()
def stop_unwanted(settings: Settings) -> Commands:
    """Stop the timers if no repository is configured any more, or if another member of the replica set makes the
    backups. Repositories and their secrets are kept."""
    if is_wanted(settings):
        return
    units = [f"{unit}.{kind}" for unit in _all_units() for kind in ("timer", "service")]
    files = [*units, SETTLE, REOPEN, NEEDS_SETTLED]
    there = host.get_fact(Output, command=f"cd {UNITS} && ls {' '.join(files)}").split()
    if not there:
        return
    timers_there = [unit for unit in there if unit.endswith(".timer")]
    notes.note(f"{', '.join(timers_there)}: stopped and disabled; the repositories stay")
    yield (
        f"systemctl disable --quiet --now {' '.join(timers_there)}; cd {UNITS} && rm -f {' '.join(there)}"
        " && systemctl daemon-reload"
    )


def _all_units() -> list[str]:
    return ["slipway-backup", "slipway-slice", "slipway-check", "slipway-drill"]
