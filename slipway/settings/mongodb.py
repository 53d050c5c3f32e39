"""Settings of MongoDB."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.types import (
    Check,
    Domain,
    HttpUrl,
    Mebibytes,
    MemoryLimit,
    PlainLine,
    Port,
    Section,
    Unit,
    UserName,
    Words,
    derived,
    derived_by,
    is_ipv4,
    matching,
)
from slipway.systems import SYSTEMS

# Options of mongod.conf that other settings decide, or that Slipway relies on.
MONGODB_OWN = {
    *("storage.dbPath", "storage.wiredTiger.engineConfig.cacheSizeGB", "net.port", "net.bindIp", "net.bindIpAll"),
    *("net.tls.mode", "net.tls.certificateKeyFile", "net.tls.CAFile", "net.ssl.mode"),
    *("security.authorization", "security.keyFile", "replication.replSetName"),
    *("systemLog.destination", "systemLog.path", "processManagement.fork"),
}
# Where programs come and go, or that a sandbox hides: no folder for data.
DATA = r"(/[\w.-]+)+"
NO_DATA = ("/home", "/root", "/run", "/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/boot", "/etc")  # noqa: S108

# What mongod takes beside its cache, for connections and sorting, in MiB.
MIN_BESIDE_CACHE_MB = 256
# The smallest oplog that MongoDB takes, and makes on a small disk, in MiB.
# https://www.mongodb.com/docs/manual/core/replica-set-oplog/#oplog-size
MIN_OPLOG_MB = 990

# The keys that sign its series. https://www.mongodb.com/docs/manual/tutorial/verify-mongodb-packages/
KEYS = {
    "6.0": "39BD841E4BE5FB195A65400E6A26B1AE64C3C388",
    "7.0": "E58830201F7DD82CD808AA84160D26BB1785BA38",
    "8.0": "4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05",
}
# Releases that MongoDB has packages for.
SUITES = [system.codename for system in SYSTEMS.values() if system.mongodb_series]


def is_suite(value: str) -> bool:
    return value in ("", *SUITES)


def is_for_data(folder: str) -> bool:
    """Whether mongodb_data may be this folder."""
    is_hidden = any(f"{folder}/".startswith(f"{hidden}/") for hidden in NO_DATA)
    return re.fullmatch(DATA, folder) is not None and not is_hidden and "/../" not in f"{folder}/"


class MongoDB(Section):
    """MongoDB"""

    per_site = frozenset({"mongodb_database", "mongodb_backend_user"})

    mongodb_version: Annotated[str, matching(r"\d\.\d", 'a series as "7.0"')] = "7.0"
    """The series to install, which the packages are pinned to: its newest patch. A server in service gets a later patch
    or another series by `slipway upgrade` ([upgrades.md](upgrades.md)): one series at a time, never back."""

    mongodb_apt_url: HttpUrl = "https://repo.mongodb.org/apt"
    """The apt repository; `/debian` or `/ubuntu` is appended."""

    mongodb_apt_suite: Annotated[str, Check(is_suite, f'"", or one of {", ".join(SUITES)}')] = ""
    """The codename of the release whose packages are installed; `""` for the host's own. `"bookworm"` is for Debian 13,
    for which MongoDB has no packages: those of Debian 12 run there, but MongoDB neither tests nor supports that."""

    mongodb_key_url: HttpUrl = derived("https://pgp.mongodb.com/server-{mongodb_version}.asc")
    """The URL of the key that signs the series."""

    mongodb_key_fingerprint: Annotated[str, matching(r"[0-9A-F]{40}", "40 hexadecimal digits, upper case")] = (
        derived_by(f"that of {', '.join(KEYS)}", ["mongodb_version"], lambda series: KEYS.get(series, ""))
    )
    """The fingerprint that this key must have."""

    mongodb_tools: bool = True
    """Install mongodump and mongorestore, too."""

    mongodb_data: Annotated[str, matching(DATA, "an absolute path of letters, digits, _, . and -")] = "/var/lib/mongodb"
    """The folder of MongoDB's data. Slipway moves no data: another folder is an empty database."""

    mongodb_replica_set: Annotated[str, matching(r"[\w.-]{0,64}", 'a name, or "" for none')] = "rs0"
    """The name of the replica set that the db hosts are the members of, mostly one: transactions, change streams and
    backups to the second require one. A server without one becomes one by `apply`, with its data and one restart. `""`
    for none ([the way back](backups.md#the-replica-set))."""

    mongodb_member: Domain = "mongodb-1.internal"
    """The name of the member in its replica set, by which drivers find it. `/etc/hosts` leads to MongoDB by it, on
    the db hosts and on those with a backend. Of several db hosts each has its own, in the inventory
    ([scale.md](scale.md)). A set that has begun keeps its members' names."""

    mongodb_oplog_mb: Annotated[Mebibytes, Field(ge=0, le=2**20)] = 0
    """Limit of the oplog, which keeps the last writes, at least 990. 0 leaves it as MongoDB made it: 5 % of the free
    disk, 990 MiB to 50 GiB. Changed without a restart."""

    mongodb_settings: Annotated[
        dict[Annotated[str, matching(r"[a-z]\w*(\.\w+)+", "an option of mongod.conf")], bool | int | float | PlainLine],
        Words("dictionary of an option of mongod.conf, as its documentation names it, to its value"),
    ] = Field({})
    """Further options of mongod: `{"operationProfiling.mode": "slowOp", "storage.directoryPerDB": True}`.
    https://www.mongodb.com/docs/manual/reference/configuration-options/"""

    mongodb_bind: Annotated[str, Check(is_ipv4, "an IPv4 address")] = "127.0.0.1"
    """The address that mongod listens on. Without one, where other hosts need it, `private_address` is added by
    itself: with several db hosts, or a backend on another host."""

    mongodb_tls: Literal["on", "allow", "off"] = "on"
    """What MongoDB's members and backends on several hosts say to each other: `"on"` for encrypted, by
    [the servers' own certificates](scale.md#the-servers-own-certificates); `"off"` unencrypted; `"allow"` takes both,
    for the apply between the two of a set that has several members already. On one host nothing is encrypted."""

    mongodb_port: Port = 27017
    """The port that mongod listens on."""

    mongodb_cache_gb: Annotated[float, Field(ge=0, le=1024, strict=False), Unit("GiB")] = 0
    """WiredTiger's cache. 0 computes a quarter of the memory, at least 0.25, as the host is shared with a backend.
    MongoDB's own default, half of the memory, is for a dedicated host."""

    mongodb_memory_max_mb: MemoryLimit = 0
    """Memory limit of mongod, including its cache and its files in the kernel's cache. At 9/10 of it mongod is
    throttled, above it mongod is killed and restarted. 0 computes 6/10 of the memory, at least the cache and 512."""

    mongodb_tasks_max: Annotated[int, Field(ge=200, le=100_000), Unit("threads")] = 32000
    """Maximum number of mongod's threads: one for each connection, and some dozens of its own."""

    mongodb_database: Annotated[
        str,
        # https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
        matching(r"(?!(admin|local|config)$)[A-Za-z0-9_-]{1,63}", "letters, digits, _ and -; not MongoDB's own names"),
    ] = derived("{site_name}")
    """The site's database."""

    mongodb_admin_user: UserName = "admin"
    """MongoDB's administrator. Its password is the secret `MONGODB_ADMIN_PASSWORD`."""

    mongodb_backend_user: UserName = "backend"
    """The backend's MongoDB user, which may read and write `mongodb_database` and no other. It is known in the database
    `admin` and in `mongodb_database`, whatever `authSource` an application says. Its password is the secret
    `MONGODB_BACKEND_PASSWORD`. The user of a further site is named as the site unless it sets this."""

    @field_validator("mongodb_version", mode="before")
    @classmethod
    def _series(cls, value: Any) -> Any:
        # pyinfra's own --data reads 7.0 as a number.
        return f"{value:.1f}" if isinstance(value, float) else value

    @field_validator("mongodb_data")
    @classmethod
    def _a_folder_for_data(cls, value: str) -> str:
        if not is_for_data(value):
            raise ValueError(f"a folder that is not below {', '.join(NO_DATA)}")
        return value

    @field_validator("mongodb_oplog_mb")
    @classmethod
    def _as_mongodb_takes_it(cls, value: int) -> int:
        if 0 < value < MIN_OPLOG_MB:
            raise ValueError(f"0, or at least {MIN_OPLOG_MB}, MongoDB's own minimum")
        return value

    @field_validator("mongodb_settings")
    @classmethod
    def _not_decided_elsewhere(cls, value: dict[str, Any]) -> dict[str, Any]:
        if owned := MONGODB_OWN & {*value}:
            raise ValueError(f"options without {', '.join(sorted(owned))}, which Slipway's own settings decide")
        return value

    @field_validator("mongodb_memory_max_mb")
    @classmethod
    def _more_than_the_cache(cls, value: int, info: ValidationInfo) -> int:
        least = int(info.data.get("mongodb_cache_gb", 0) * 1024) + MIN_BESIDE_CACHE_MB
        if 0 < value < least:
            raise ValueError(f"0, or at least {least}: mongodb_cache_gb and {MIN_BESIDE_CACHE_MB} MiB for the rest")
        return value

    @field_validator("mongodb_backend_user")
    @classmethod
    def _another_user(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("mongodb_admin_user"):
            raise ValueError("another user than mongodb_admin_user")
        return value
