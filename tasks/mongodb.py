"""MongoDB from its official repository, listening only locally."""

from __future__ import annotations

import shlex
from base64 import b64encode
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption.apt import same_repository, without
from slipway.adoption.mongod import is_begun
from slipway.adoption.nginx import observed
from slipway.engine.components import Drift, component, component_step
from slipway.engine.notes import note
from slipway.engine.uploads import with_input
from slipway.facts import mongodb_data as mongodb_data_program
from slipway.facts.base import Output
from slipway.facts.files import FileState
from slipway.facts.machine import Machine
from slipway.facts.mongodb import program
from slipway.facts.nginx import NginxInForce
from slipway.ops.backup import KEPT, backup, or_roll_back
from slipway.ops.commands import Commands, checked, ensure
from slipway.ops.files import absent, directory, is_in_place, put_template, tell_difference, tell_text, write_script
from slipway.ops.templates import render
from slipway.ops.units import and_observe, and_wait, restart, restarts, service
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings import limits, members
from slipway.settings.model import Settings
from slipway.tasks import mongodb_elsewhere, mongodb_members, mongodb_packages, mongodb_tls, other_sites
from slipway.tasks.adoption_facts import earlier_mongodb
from slipway.tasks.mongodb_packages import packaged_for
from slipway.tasks.mongodb_series import KEYRING_BEFORE, SOURCES, Before, before, of_series
from slipway.tasks.mongodb_set import KEYFILE, begins, clients_wait, name_member, put_key, replica_set, set_problems
from slipway.tasks.mongodb_users import alone, mongodb_users, passwords_of_member
from slipway.tasks.packages import package_gone

PREFERENCES = "/etc/apt/preferences.d/mongodb"
KEYRING = "/usr/share/keyrings/mongodb-server.asc"
CONFIG = "/etc/mongod.conf"
# Parses and checks the whole file without starting mongod.
CHECK = "mongod --config {} --outputConfig >/dev/null"
LIMITS = "/etc/systemd/system/mongod.service.d/slipway.conf"
UNIT = "mongod.service"
# The metapackage mongodb-org would add mongos, the router of a sharded cluster.
# Python runs slipway/facts/mongodb_login.py on the host.
PACKAGES = ["mongodb-org-server", "mongodb-mongosh", "python3"]
TOOLS = ["mongodb-database-tools"]
# To fetch and verify MongoDB's key, before the repository is trusted.
KEY_PACKAGES = ["ca-certificates", "curl", "gpg"]
VERSION = "mongod --version 2>/dev/null | sed -n 's/^db version v//p'"


def packages(settings: Settings) -> list[str]:
    return [*PACKAGES, *(TOOLS if settings.mongodb_tools else [])]


def repository(settings: Settings) -> None:
    """The apt repository. KEY_PACKAGES are installed already, packages() follow."""
    machine = host.get_fact(Machine)
    system = packaged_for(machine, settings)
    earlier = before(settings, system)
    # Before the new series' key takes the place of its key.
    _trust_earlier_key(settings, earlier)
    ensure(
        name="Trust MongoDB's signing key",
        check=_holds_only(KEYRING, settings.mongodb_key_fingerprint),
        command=_fetch_key(settings),
        note=f"{KEYRING}: the key {settings.mongodb_key_fingerprint}",
    )
    set_aside(name="Disable other sources of MongoDB's packages", url=settings.mongodb_apt_url)
    series = earlier.series if earlier else settings.mongodb_version
    values = {
        "settings": settings,
        "machine": machine,
        "system": system,
        "keyring": KEYRING,
        "before": earlier if earlier and earlier.is_kept else None,
        "series": series,
    }
    put_template(SOURCES, "mongodb/mongodb.sources", values, name="Add MongoDB's repository")
    put_template(PREFERENCES, "mongodb/preferences", values, name=f"Pin MongoDB to the {series} series")


def _trust_earlier_key(settings: Settings, earlier: Before | None) -> None:
    if earlier is None or not earlier.is_kept:
        if host.get_fact(FileState, path=KEYRING_BEFORE):
            absent(name="Remove the key of MongoDB's earlier series", path=KEYRING_BEFORE)
        return
    if its := of_series(settings, earlier.series):
        check, command = _holds_only(KEYRING_BEFORE, its.mongodb_key_fingerprint), _fetch_key(its, KEYRING_BEFORE)
    else:
        # It signs all series, or the one that is trusted now signs the installed one.
        check = f"[ -s {KEYRING_BEFORE} ]"
        command = f"install -m 644 {KEYRING} {KEYRING_BEFORE}.new && sync {KEYRING_BEFORE}.new"
        command += f" && mv -fT {KEYRING_BEFORE}.new {KEYRING_BEFORE}"
    ensure(
        name=f"Trust the key of MongoDB {earlier.series} until its upgrade",
        check=check,
        command=command,
        note=f"{KEYRING_BEFORE}: the key of MongoDB {earlier.series}",
    )


def problems(settings: Settings) -> list[str]:
    """What prevents MongoDB and its replica set on this host."""
    found = mongodb_packages.problems(settings)
    if settings.mongodb_data.startswith("/var/lib/"):
        found += set_problems(settings, int(host.get_fact(Machine)["disk:/var/lib"].split()[1]))
    for text in other_sites.remarks(settings):
        note(text)
    return found + mongodb_members.problems(settings) + mongodb_elsewhere.problems(settings)


def drifts(settings: Settings) -> dict[str, Drift]:
    where, folder = f"mongodb://{settings.mongodb_local}:{settings.mongodb_port}/admin", settings.credentials_folder
    drop = (
        f'db = connect("{where}"); db.auth("{settings.mongodb_admin_user}",'
        f' require("fs").readFileSync("{folder}/MONGODB_ADMIN_PASSWORD", "utf8"));'
        f' db.dropUser("{settings.mongodb_backend_user}")'
    )
    key, configured, started = "Trust MongoDB's signing key", "Configure MongoDB", "Start MongoDB"
    return {
        "a file given away": Drift(f"chown nobody {CONFIG}", configured),
        "MongoDB opened to the world": Drift(
            f"sed -i 's/bindIp: .*/bindIp: 0.0.0.0/' {CONFIG} && systemctl restart mongod", configured
        ),
        "the database stopped": Drift("systemctl stop mongod", started),
        "MongoDB's pin removed": Drift(
            "rm /etc/apt/preferences.d/mongodb", f"Pin MongoDB to the {settings.mongodb_version} series"
        ),
        "another key for MongoDB's packages": Drift(
            f"cp /usr/share/keyrings/debian-archive-keyring.gpg {KEYRING}", key
        ),
        "a stranger's key beside MongoDB's": Drift(
            "cd /usr/share/keyrings && { gpg --dearmor < mongodb-server.asc; cat debian-archive-keyring.gpg; } |"
            " gpg --enarmor | sed 's/ARMORED FILE/PUBLIC KEY BLOCK/' > new && mv new mongodb-server.asc",
            key,
        ),
        "mongod's sandbox opened": Drift(f"sed -i /ProtectSystem/d {LIMITS}", "Sandbox MongoDB"),
        "the replica set's member without its name": Drift(
            f"sed -i /{settings.mongodb_member}/d /etc/hosts", "Name the replica set's member"
        ),
        "the replica set's key readable": Drift(f"chmod 440 {KEYFILE}", "Create the replica set's key"),
        "MongoDB's user dropped": Drift(f"mongosh --quiet --nodb --eval {shlex.quote(drop)}", "Create MongoDB's users"),
        "MongoDB's shell gone": Drift(package_gone("mongodb-mongosh")),
        "MongoDB's repository removed": Drift(f"rm {SOURCES}"),
        "the data folder open": Drift("chmod 755 /var/lib/mongodb"),
        "MongoDB disabled": Drift("systemctl disable mongod"),
        "MongoDB's file touched": Drift(f"sleep 3; touch {CONFIG}"),
        "another password for the database": Drift(f"printf wrong > {folder}/MONGODB_BACKEND_PASSWORD"),
    }


def ports(settings: Settings) -> dict[int, str]:
    return {settings.mongodb_port: "mongod"}


def repositories(settings: Settings) -> list[str]:
    return [settings.mongodb_apt_url]


@component(
    roles=("db",),
    packages=packages,
    early_packages=KEY_PACKAGES,
    before_packages=repository,
    repositories=repositories,
    sources=(SOURCES,),
    ports=ports,
    units=(UNIT,),
    versions={"MongoDB": VERSION},
    preflight=problems,
    drifts=drifts,
)
def mongodb(settings: Settings) -> None:
    """The server and its users. An existing server without authentication stays open until the sites have moved
    (`close_mongodb`): their present backends have no password."""
    data = earlier_mongodb(settings)
    if data.get("state") == "open":
        mongodb_users(settings, stays_open=True)
        return
    # The replica set is initiated by the administrator, here that of the existing server, whose password is provided.
    if adopts_users := data.get("state") == "closed" and not is_begun(data):
        mongodb_users(settings)
    _configure(settings, adopts=False, adopts_users=adopts_users)


@component_step(after="nginx")
def close_mongodb(settings: Settings) -> None:
    """Require authentication once the sites have moved, on their host."""
    if serves_without_passwords(settings):
        _configure(settings, adopts=True)


@component_step(before="fail2ban")
def close_mongodb_of_others(settings: Settings) -> None:
    """The same on a host without Nginx, after the hosts with the sites."""
    if "web" not in host.groups and serves_without_passwords(settings):
        _configure(settings, adopts=True)


@operation()
def set_aside(url: str) -> Commands:
    """Disable other sources of the same repository: apt refuses two with different keys. They are kept as comments, or
    with "Enabled: no"."""
    shown = "cd /etc/apt && grep -sH '' sources.list sources.list.d/*.list sources.list.d/*.sources"
    texts: dict[str, str] = {}
    for line in host.get_fact(Output, command=shown).splitlines():
        file, _, text = line.partition(":")
        texts[f"/etc/apt/{file}"] = f"{texts.get(f'/etc/apt/{file}', '')}{text}\n"
    for file in same_repository(texts, url):
        if file != SOURCES:
            new = without(file, texts[file], url)
            tell_text(file, texts[file], new)
            yield with_input(write_script(file, "644", "root", "root", None), new.encode())


def serves_without_passwords(settings: Settings) -> bool:
    """Whether a MongoDB runs that Slipway did not set up, without authentication."""
    return earlier_mongodb(settings).get("state") == "open"


def _configure(settings: Settings, adopts: bool, adopts_users: bool = False) -> None:
    memory_mb = int(host.get_fact(Machine)["memory_mb"])
    directory(
        name="Create the data directory", path=settings.mongodb_data, owner="mongodb", group="mongodb", mode="750"
    )
    several = members.is_several(settings)
    its = mongodb_members.place(settings)
    issued = mongodb_tls.certificate(settings)
    if settings.mongodb_replica_set:
        if its.is_founder or its.is_member:
            put_key()
        mongodb_members.take_key(its)
        name_member(settings)
    if several:
        mongodb_members.put_names(settings)
    if adopts or (adopts_users and its.is_founder):
        # One that requires a password already answers others as before.
        there = host.get_fact(NginxInForce) if adopts and "web" in host.groups else None
        restart_with_its_data(
            name="Configure and restart MongoDB",
            settings=settings,
            config=render("mongodb/mongod.conf", **config_values(settings, memory_mb)),
            limits=render("mongodb/mongod.service.conf", **unit_values(settings, memory_mb)),
            answers=observed(there, settings) if there else "",
            is_closed=adopts_users,
        )
    else:
        config = put_template(
            CONFIG,
            "mongodb/mongod.conf",
            config_values(settings, memory_mb),
            name="Configure MongoDB",
            check=CHECK,
            group="mongodb",
            mode="640",
            rollback_unit=UNIT,
        )
        limits = put_template(
            LIMITS,
            "mongodb/mongod.service.conf",
            unit_values(settings, memory_mb),
            name="Sandbox MongoDB",
            rollback_unit=UNIT,
        )
        if its.is_founder:
            # This restart converts a standalone to a set; rolled back if the set does not accept writes.
            restart(name="Restart MongoDB", unit=UNIT, ready=begins(settings), _if=restarts(config, limits))
        else:
            mongodb_members.restart_in_turn(settings, UNIT, [CONFIG, LIMITS], [config, limits])
    # Several members restart in turn, which made up for a restart that was missed.
    service(name="Start MongoDB", unit=UNIT, files=[CONFIG, LIMITS] if its.is_founder else [])
    mongodb_tls.read_anew(settings, UNIT, issued)
    if settings.mongodb_replica_set and its.is_founder:
        replica_set(name="Begin MongoDB's replica set", settings=settings)
    if not adopts_users and (its.is_founder or its.is_member):
        mongodb_users(settings)
    if several:
        mongodb_members.grow(name="Add the replica set's members", settings=settings, is_founder=its.is_founder)
        if not its.is_founder:
            passwords_of_member(settings)


def config_values(settings: Settings, memory_mb: int) -> dict[str, Any]:
    """The template values of mongod.conf."""
    return {
        "settings": settings,
        "cache_gb": cache_gb(settings, memory_mb),
        "keyfile": KEYFILE,
        **mongodb_tls.values(settings),
    }


def unit_values(settings: Settings, memory_mb: int) -> dict[str, Any]:
    """The template values of mongod.service's drop-in. mongod writes its socket to net.unixDomainSocket.pathPrefix."""
    prefix = settings.mongodb_settings.get("net.unixDomainSocket.pathPrefix")
    return {
        "settings": settings,
        "memory_max_mb": memory_max_mb(settings, memory_mb),
        "writable": [f"-{prefix}"] if prefix else [],
        "member_names": mongodb_members.NAMES if members.is_several(settings) else "",
    }


@operation()
def restart_with_its_data(
    settings: Settings, config: str, limits: str, answers: str, is_closed: bool = False
) -> Commands:
    """Give an existing server its new configuration (mongod.conf and the unit's drop-in) and restart it, after a check
    that it will have the same data: a private mongod starts with the new configuration's folder first, and must have
    every collection with the same documents. Otherwise, or if another site's `answers` (adoption.nginx.observed) have
    changed, the previous configuration is restored. One that `is_closed` is read as its administrator.

    All of it is one operation: with the new files a restart by anybody else would leave a replica set that nobody has
    initiated, and one that answers nobody.
    """
    install = []
    for path, content, mode, group in ((CONFIG, config, "640", "mongodb"), (LIMITS, limits, "644", "root")):
        state, data = host.get_fact(FileState, path=path), content.encode()
        if not is_in_place(state, data, mode, "root", group):
            tell_difference(path, state, data, mode, "root", group)
            write = write_script(path, mode, "root", group, None)
            install.append(f"printf %s {b64encode(data).decode()} | sh -euc {shlex.quote(write)} || exit 1")
    if not install:
        return
    ask, seconds = program(mongodb_data_program), settings.limits.mongosh
    file = f"{settings.admin_credentials_folder}/{MONGODB_ADMIN}"
    login = f" {settings.mongodb_admin_user} {file} < /dev/null" if is_closed else ""
    alone_now = f"runuser -u mongodb -- {alone(settings)}"
    new_lines = "\n".join(install)
    waiting = clients_wait(settings)
    attempt = f"""\
umask 077; private=$(mktemp -d /run/slipway-mongodb.XXXXXX) && chown mongodb:mongodb $private || exit 1
trap {shlex.quote(f"{waiting.after}; rm -rf $private")} EXIT; trap 'exit 1' HUP INT TERM PIPE
printf %s {b64encode(config.encode()).decode()} | base64 -d > $private/new || exit 1
{checked(CHECK.replace("{}", "$private/new"), **{"$private/new": CONFIG})}
{backup([CONFIG, LIMITS], UNIT)} || exit 1
# Nobody writes from here on: the server ends locked.
{ask} {settings.mongodb_local} {settings.mongodb_port} {seconds} lock{login} > $private/before || exit 1
systemctl stop mongod || exit 1
{alone_now} --bind_ip $private/mongod.sock --fork --logpath $private/log > $private/said 2>&1 || {{
  cat $private/said >&2; exit 1; }}
{ask} $private/mongod.sock 0 {seconds} hash > $private/after
{alone_now} --shutdown > /dev/null
diff $private/before $private/after >&2 || {{ echo "MongoDB would not have the same data (<: it had)" >&2; exit 1; }}
{new_lines}
systemctl daemon-reload; systemctl reset-failed mongod 2> /dev/null
{waiting.before}
{and_wait("systemctl restart mongod", "mongod.service", begins(settings))}
{waiting.after}"""
    yield f"{or_roll_back(and_observe(attempt, answers), 'mongod.service')} && rm -rf {KEPT}/mongod.service"


def cache_gb(settings: Settings, memory_mb: int) -> float:
    """WiredTiger's cache in GiB: as set, or a quarter of the memory, but at least mongod's minimum of 0.25."""
    return settings.mongodb_cache_gb or max(0.25, round(memory_mb / 1024 / 4, 2))


def memory_max_mb(settings: Settings, memory_mb: int) -> int:
    """mongod's memory limit in MiB: as set, or 6/10 of the host's, but at least enough for its cache."""
    least = int(cache_gb(settings, memory_mb) * 1024) + 512
    return settings.mongodb_memory_max_mb or max(least, memory_mb * 6 // 10)


def _fingerprints(file: str) -> str:
    """A command that prints the fingerprints of the primary keys in a file. The options keep gpg from using the user's
    home, which may not exist."""
    return (
        f"gpg --batch --no-options --no-keyring --trust-model always --show-keys --with-colons {file}"
        ' | awk -F: \'$1 == "pub" {key = 1} $1 == "fpr" && key {print $10; key = 0}\''
    )


def _holds_only(file: str, fingerprint: str) -> str:
    """A shell test: the file holds this key and no other, which apt would trust as well."""
    return f'[ "$({_fingerprints(file)})" = {fingerprint} ]'


def _fetch_key(settings: Settings, keyring: str = "") -> str:
    """Fetch the key, verify its fingerprint, and only then trust it."""
    seconds, url, keyring = settings.limits.download, settings.mongodb_key_url, keyring or KEYRING
    # curl's exit code for a timeout is 28.
    late = f"[ $? != 28 ] || echo 'no whole answer within {seconds} s: {url}; {limits.HINT}' >&2; false"
    return (
        f"new=$(mktemp {keyring}.XXXXXX) && trap 'rm -f $new' EXIT"
        f" && {{ curl -fsSL --retry 3 --max-time {seconds} -o $new {url} || {{ {late}; }}; }}"
        f" && {{ {_holds_only('$new', settings.mongodb_key_fingerprint)} || {{"
        f" echo 'the key at {url} has another fingerprint than mongodb_key_fingerprint:' >&2;"
        f" {_fingerprints('$new')} >&2; exit 1; }}; }}"
        f" && chmod 644 $new && sync $new && mv -fT $new {keyring}"
    )
