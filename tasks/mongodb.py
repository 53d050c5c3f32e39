"""MongoDB from its official repository, for this host alone."""

from __future__ import annotations

from pyinfra import host

from slipway.engine.components import component
from slipway.facts.machine import Machine
from slipway.ops.commands import ensure
from slipway.ops.files import directory, put_template
from slipway.ops.units import restart, restarts, service
from slipway.settings import limits
from slipway.settings.model import Settings
from slipway.systems import system_of
from slipway.tasks.mongodb_users import mongodb_users

SOURCES = "/etc/apt/sources.list.d/mongodb.sources"
KEYRING = "/usr/share/keyrings/mongodb-server.asc"
LIMITS = "/etc/systemd/system/mongod.service.d/slipway.conf"
# The metapackage mongodb-org would add mongos, the router of a sharded cluster.
# Python: slipway/facts/mongodb_login.py runs there.
PACKAGES = ["mongodb-org-server", "mongodb-mongosh", "python3"]
TOOLS = ["mongodb-database-tools"]
# What fetches MongoDB's key and looks at it, before the repository is trusted.
KEY_PACKAGES = ["ca-certificates", "curl", "gpg"]


def packages(settings: Settings) -> list[str]:
    return [*PACKAGES, *(TOOLS if settings.mongodb_tools else [])]


def repository(settings: Settings) -> None:
    """Where the packages come from: KEY_PACKAGES are there, and packages() follow."""
    ensure(
        name="Trust MongoDB's signing key",
        check=_holds_only(KEYRING, settings.mongodb_key_fingerprint),
        command=_fetch_key(settings),
        note=f"{KEYRING}: the key {settings.mongodb_key_fingerprint}",
    )
    machine = host.get_fact(Machine)
    values = {"settings": settings, "machine": machine, "system": system_of(machine), "keyring": KEYRING}
    put_template(SOURCES, "mongodb/mongodb.sources", values, name="Add MongoDB's repository")
    put_template(
        "/etc/apt/preferences.d/mongodb",
        "mongodb/preferences",
        values,
        name=f"Pin MongoDB to the {settings.mongodb_version} series",
    )


@component
def mongodb(settings: Settings) -> None:
    memory_mb = int(host.get_fact(Machine)["memory_mb"])
    directory(name="Create the data directory", path="/var/lib/mongodb", owner="mongodb", group="mongodb", mode="750")
    config = put_template(
        "/etc/mongod.conf",
        "mongodb/mongod.conf",
        {"settings": settings, "cache_gb": cache_gb(settings, memory_mb)},
        name="Configure MongoDB",
        # Parses and checks the whole file, and starts nothing.
        check="mongod --config {} --outputConfig >/dev/null",
        group="mongodb",
        mode="640",
        rollback_unit="mongod.service",
    )
    limits = put_template(
        LIMITS,
        "mongodb/mongod.service.conf",
        {"settings": settings, "memory_max_mb": memory_max_mb(settings, memory_mb)},
        name="Sandbox MongoDB",
        rollback_unit="mongod.service",
    )
    restart(
        name="Restart MongoDB",
        unit="mongod.service",
        _if=restarts(config, limits),
    )
    service(name="Start MongoDB", unit="mongod.service", files=["/etc/mongod.conf", LIMITS])
    mongodb_users(settings)


def cache_gb(settings: Settings, memory_mb: int) -> float:
    """WiredTiger's cache in GiB: as set, or a quarter of the memory, never below the 0.25 that mongod accepts."""
    return settings.mongodb_cache_gb or max(0.25, round(memory_mb / 1024 / 4, 2))


def memory_max_mb(settings: Settings, memory_mb: int) -> int:
    """The memory that mongod may take, in MiB: as set, or 6/10 of the host's, and never too little for its cache."""
    least = int(cache_gb(settings, memory_mb) * 1024) + 512
    return settings.mongodb_memory_max_mb or max(least, memory_mb * 6 // 10)


def _fingerprints(file: str) -> str:
    """A command that prints the fingerprints of the keys in a file, without their subkeys'; it needs no home."""
    return (
        f"gpg --batch --no-options --no-default-keyring --trust-model always --show-keys --with-colons {file}"
        ' | awk -F: \'$1 == "pub" {key = 1} $1 == "fpr" && key {print $10; key = 0}\''
    )


def _holds_only(file: str, fingerprint: str) -> str:
    """A shell test: the key is in the file, and no other, which apt would trust as well."""
    return f'[ "$({_fingerprints(file)})" = {fingerprint} ]'


def _fetch_key(settings: Settings) -> str:
    """Fetch the key, look at its fingerprint, and only then trust it."""
    seconds, url = settings.limits.download, settings.mongodb_key_url
    # 28 is what curl says of a time that is up.
    late = f"[ $? != 28 ] || echo 'no whole answer within {seconds} s: {url}; {limits.HINT}' >&2; false"
    return (
        f"new=$(mktemp {KEYRING}.XXXXXX) && trap 'rm -f $new' EXIT"
        f" && {{ curl -fsSL --retry 3 --max-time {seconds} -o $new {url} || {{ {late}; }}; }}"
        f" && {{ {_holds_only('$new', settings.mongodb_key_fingerprint)} || {{"
        f" echo 'the key at {url} has another fingerprint than mongodb_key_fingerprint:' >&2;"
        f" {_fingerprints('$new')} >&2; exit 1; }}; }}"
        f" && chmod 644 $new && sync $new && mv -fT $new {KEYRING}"
    )
