"""An existing MongoDB: its options, its data and its users."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slipway.adoption import Obstacle, own_services, setting
from slipway.adoption.network import listeners
from slipway.adoption.ufw import kept_ports
from slipway.secrets.store import MONGODB_ADMIN, MONGODB_BACKEND
from slipway.settings import members
from slipway.settings.model import Settings
from slipway.settings.mongodb import MONGODB_OWN, is_for_data
from slipway.settings.types import is_ipv4

CONFIG, PROGRAM, UNIT = "/etc/mongod.conf", "/usr/bin/mongod", "mongod.service"
# Options that Slipway replaces: the log goes to the journal, the unit runs the process. And values that are the same as
# Slipway's configuration.
MOVED = {
    *("config", "systemLog.destination", "systemLog.path", "systemLog.logAppend", "systemLog.logRotate"),
    *("systemLog.timeStampFormat", "processManagement.fork", "processManagement.pidFilePath"),
    *("processManagement.timeZoneInfo", "security.authorization"),
}
SAME = {
    "storage.engine": ("wiredTiger",),
    "storage.journal.enabled": (True,),
    "net.ipv6": (False,),
    "net.bindIpAll": (False,),
    "net.unixDomainSocket.enabled": (True,),
    "net.tls.mode": ("disabled",),
    "net.ssl.mode": ("disabled",),
    "replication.enableMajorityReadConcern": (True,),
}
# For data that are in a folder which Slipway's sandbox hides.
ELSEWHERE = "/srv/mongodb"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Addresses, as mongod.conf and ss(8) have them, by which it answers at 127.0.0.1.
LOCAL = {"localhost", "127.0.0.1", "0.0.0.0", "*"}  # noqa: S104


def flat(options: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The options of a configuration file by dotted names."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        at = f"{above}.{name}" if above else str(name)
        found |= flat(value, at) if isinstance(value, Mapping) else {at: value}
    return found


def parsed(text: str) -> dict[str, Any] | None:
    """The options in the text of a mongod.conf, None if it is not YAML (before MongoDB 2.6: `dbpath = /data`)."""
    import yaml  # only a plan of an adoption needs it

    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return None
    return flat(found) if isinstance(found, dict) else None


def process(earlier: Mapping[str, str]) -> dict[str, str]:
    """mongod in facts.Earlier: exe, unit, user and command of the process, version of the installed program,
    FragmentPath of mongod.service, data (the folder behind dbPath in /etc/mongod.conf)."""
    return dict(line.split("=", 1) for line in earlier.get("mongod", "").splitlines() if "=" in line)


def place(earlier: Mapping[str, str], settings: Settings) -> tuple[str, int]:
    """The address and the port at which a running mongod answers: by its sockets, or else by its options."""
    running = process(earlier)
    text = earlier.get(f"file {CONFIG}")
    ours: dict[str, Any] = {"net.port": settings.mongodb_port, "net.bindIp": settings.mongodb_local}
    options = ours if text is None else parsed(text) or {}
    given = re.search(r"--port[= ](\d+)", running.get("command", ""))
    port = int(given[1] if given else options.get("net.port", 27017))
    mine = [one for one in listeners(earlier) if (one.program, one.unit) == ("mongod", running.get("unit", ""))]
    mine = [one for one in mine if one.port == port] or mine
    addresses = [one.address for one in mine] or re.split(r"[,;\s]+", str(options.get("net.bindIp", "127.0.0.1")))
    address = "127.0.0.1" if LOCAL & {*addresses} else addresses[0].strip("[]")
    return address, mine[0].port if mine else port


def obstacles(earlier: Mapping[str, str], data: Mapping[str, Any], settings: Settings) -> Iterator[Obstacle]:
    """`data` is facts.MongodbData, `{}` if no mongod runs."""
    running, text = process(earlier), earlier.get(f"file {CONFIG}")
    if not running.get("exe") and text is None and not running.get("version"):
        return
    if running.get("exe", PROGRAM) != PROGRAM:
        yield Obstacle("mongod", f"{running['exe']} running", f"{PROGRAM}, of MongoDB's packages", may_go=False)
    if running.get("unit", UNIT) != UNIT:
        found = f"it run by {running['unit'] or 'no unit'}"
        yield Obstacle("mongod", found, f"{UNIT}: it would start a second one", may_go=False)
    if running.get("exe") and not data:
        yield Obstacle("python3", "it missing, which queries MongoDB", "apt-get install python3", may_go=False)
    if running.get("user", "mongodb") != "mongodb":
        need = "User=mongodb in its unit, and its data owned by mongodb"
        yield Obstacle("mongod", f"it run as {running['user']}", need, may_go=False)
    if command := running.get("command"):
        yield from command_obstacles(command)
    yield from version_obstacles(data.get("version") or running.get("version", ""), settings)
    state = data.get("state", "away")
    # In Slipway's own configuration it is what an interrupted apply has made of it.
    is_theirs = state == "open" or text is not None
    if is_theirs:
        yield from members_obstacles(data)
    if state == "open":
        options = _behind(flat(data["options"]), running, settings)
        yield from options_obstacles(options, settings, str(options.get("config", CONFIG)))
        yield from data_obstacles(data, earlier.get("credentials", "").split(), settings)
        yield from _clients(earlier, settings)
        return
    in_file = parsed(text or "")
    if in_file is None:
        yield Obstacle(CONFIG, "a file that is not YAML", "the options as YAML, as MongoDB has them since 2.6", False)
    else:
        yield from options_obstacles(_behind(in_file, running, settings), settings)
    if is_begun(data) and text is None:
        return
    if state == "closed" and not has_password(earlier, settings):
        found = "a MongoDB that requires a password, to list its users and databases too"
        yield Obstacle("MongoDB's users", found, f"{MONGODB_ADMIN} in secrets_file, of {settings.mongodb_admin_user}")
    elif state == "closed" and is_theirs and data.get("login") != "accepted":
        found = f"{data.get('login')!r} for the login of {settings.mongodb_admin_user} by {MONGODB_ADMIN}"
        need = "the password of mongodb_admin_user, a user with the role root who logs in by SCRAM-SHA-256"
        yield Obstacle("MongoDB's users", found, need)
    elif state == "closed" and is_theirs:
        yield from data_obstacles(data, earlier.get("credentials", "").split(), settings)
    elif "requireTLS" in ((in_file or {}).get("net.tls.mode"), (in_file or {}).get("net.ssl.mode")):
        found = "a MongoDB that answers only by TLS, also about its data"
        yield Obstacle("mongod", found, f"net.tls.mode: preferTLS in {CONFIG}, and systemctl restart mongod", False)
    elif state not in ("closed", "away"):
        yield Obstacle("mongod", f"the error {state!r}", "a server that answers", may_go=False)
    elif state == "away" and data:
        address, port = place(earlier, settings)
        need = "one that answers, or none: systemctl status mongod"
        yield Obstacle("mongod", f"it running, and no answer at {address}, port {port}", need, may_go=False)


def _behind(options: dict[str, Any], running: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """The options, with mongodb_data for a dbPath that is a link to it."""
    is_link = "storage.dbPath" in options and running.get("data") == settings.mongodb_data
    return options | {"storage.dbPath": settings.mongodb_data} if is_link else options


def _clients(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    own = own_services(settings)
    for line in sorted({*earlier.get("connected", "").splitlines()}):
        program, _, unit = line.strip().partition(" ")
        if unit not in (*own, UNIT) and program:
            found = "it connected to MongoDB, which will require a password"
            yield Obstacle(f"{unit or program}", found, "a MongoDB user and password in its configuration")


def reached(earlier: Mapping[str, str], is_open: set[int] | None, settings: Settings) -> Iterator[Obstacle]:
    """Clients on other hosts and in containers, whom the firewall would refuse. `is_open` is from
    ufw.open_ports."""
    port, known = settings.mongodb_port, {peer.address for peer in members.clients(settings)}
    is_theirs = f"file {CONFIG}" in earlier
    is_kept = f"{port}/tcp" in settings.firewall_allow or port in kept_ports(earlier.get("before", "").splitlines())
    if not is_theirs or is_kept:
        return
    need = f"`-A ufw-before-input -s ADDRESS -p tcp --dport {port} -j ACCEPT` above COMMIT in /etc/ufw/before.rules"
    need += " (apt-get install ufw), which is kept"
    peers = sorted({*earlier.get("peers", "").split()} - known)
    for address in peers:
        found = "it connected from another host or a container, which the firewall would refuse"
        need_now = f"{need.replace('ADDRESS', address)}, and a MongoDB user and password in its configuration"
        yield Obstacle(f"MongoDB's client {address}", found, need_now)
    mine = [one for one in listeners(earlier) if (one.program, one.port) == ("mongod", port) and one.is_public]
    if mine and not peers and not known and (is_open is None or port in is_open):
        found = f"mongod listening on {mine[0].address}, which the firewall would block for other hosts and containers"
        yield Obstacle(f"port {port}", found, f"{need}, for each client's ADDRESS")


def options_obstacles(found: Mapping[str, Any], settings: Settings, file: str = CONFIG) -> Iterator[Obstacle]:
    """Effective options that neither a setting nor Slipway's configuration has."""

    def of(option: str, need: str, may_go: bool = True) -> Obstacle:
        return Obstacle(f"{file}: {option}", repr(found[option]), need, may_go)

    folder = str(found.get("storage.dbPath", settings.mongodb_data))
    if posixpath.normpath(folder) != settings.mongodb_data:
        yield of("storage.dbPath", _folder_needed(posixpath.normpath(folder)), may_go=False)
    for option, name, ours in (
        ("net.port", "mongodb_port", settings.mongodb_port),
        ("replication.replSetName", "mongodb_replica_set", settings.mongodb_replica_set),
    ):
        if option in found and found[option] != ours:
            # Applications break without the replica set; a port can change.
            yield of(option, setting(name, found[option]), may_go=option == "net.port")
    if found.get("security.keyFile") and not settings.mongodb_replica_set:
        yield of("security.keyFile", "a replica set: set mongodb_replica_set")
    cache = found.get("storage.wiredTiger.engineConfig.cacheSizeGB")
    if cache is not None and float(cache) != settings.mongodb_cache_gb:
        yield of("storage.wiredTiger.engineConfig.cacheSizeGB", setting("mongodb_cache_gb", float(cache)))
    yield from _addresses(found, settings, file)
    known = {*MOVED, *MONGODB_OWN} - {"net.tls.mode", "net.ssl.mode"}
    others = {
        option: value
        for option, value in found.items()
        if option not in known
        and value not in SAME.get(option, ())
        and settings.mongodb_settings.get(option, ...) != value
    }
    wanted = {**settings.mongodb_settings, **{name: value for name, value in others.items() if _may_be_set(name)}}
    for option in others:
        if _may_be_set(option):
            yield of(option, setting("mongodb_settings", wanted))
        else:
            yield of(option, "none: Slipway's mongod has no TLS, and listens only on mongodb_bind")


def _folder_needed(folder: str) -> str:
    if is_for_data(folder):
        return setting("mongodb_data", folder)
    steps = f"systemctl stop mongod; mv {shlex.quote(folder)} {ELSEWHERE}; dbPath: {ELSEWHERE}; systemctl start mongod"
    return f"the data in a folder that is not hidden from mongod ({steps}), and {setting('mongodb_data', ELSEWHERE)}"


def _may_be_set(option: str) -> bool:
    return not option.startswith(("net.tls.", "net.ssl.", "net.bindIp"))


def _addresses(found: Mapping[str, Any], settings: Settings, file: str) -> Iterator[Obstacle]:
    """The addresses that it listens on. ::1 counts as loopback; Slipway listens on 127.0.0.1 only."""
    shown = str(found.get("net.bindIp", "localhost"))
    addresses = {"127.0.0.1" if one in LOOPBACK else one for one in re.split(r"[,;\s]+", shown) if one}
    if found.get("net.bindIpAll") or "*" in addresses:
        addresses, shown = {"0.0.0.0"}, "all addresses"  # noqa: S104
    if addresses == {*settings.mongodb_listens}:
        return
    outside = sorted(addresses - {"127.0.0.1"})
    first = next(iter(outside), "127.0.0.1")
    need = setting("mongodb_bind", first)
    if not is_ipv4(first):
        need = f"mongodb_bind, the IPv4 address by which its clients reach it instead of {first}"
    yield Obstacle(f"{file}: net.bindIp", shown, f"one address, {need}" if len(outside) > 1 else need)


def command_obstacles(command: str) -> Iterator[Obstacle]:
    """Options on the unit's command line (ExecStart), which would be lost with it."""
    words = shlex.split(command)[1:]
    given = re.search(r"(?:--config|-f)[= ](\S+)", command)
    if given and given[1] != CONFIG:
        found = f"{given[1]}, which Slipway would not change"
        yield Obstacle("mongod.service: --config", found, f"{CONFIG}: move the file, and name it in the unit", False)
    # Slipway's drop-in says Type=exec: it waits for no fork. And its sandbox has one folder for logs.
    known = {"--config", "-f", "--quiet", "--pidfilepath", "--logappend", "--syslog", "run"}
    log = re.search(r"--logpath[= ](\S+)", command)
    if log and log[1].startswith("/var/log/mongodb/"):
        known.add("--logpath")
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option not in known:
            need = f"its option in {CONFIG}, and only `mongod --config {CONFIG}` in the unit"
            yield Obstacle(f"mongod.service: {option}", repr(command), need, may_go=False)


def data_obstacles(
    data: Mapping[str, Any], written: Sequence[str], settings: Settings, added: Sequence[str] | None = None
) -> Iterator[Obstacle]:
    """Databases and users (facts.MongodbData) that Slipway would not use. `written` are the password files of those
    that an interrupted apply has created, `added` the databases of sites that are new on an adopted server."""
    documents: dict[str, int] = data.get("documents", {})
    filled = {name for name, number in documents.items() if number}
    sites = {site.mongodb_database: site for site in settings.all_sites}
    others = sorted(filled - {*sites})
    for database in sites:
        if database not in filled and (added is None or database in added):
            for other in others:
                yield Obstacle(
                    f"database {other}",
                    f"{documents[other]} documents in it and none in {database}",
                    setting("mongodb_database", other),
                )
    taken, is_closed = {*data.get("users", [])}, data["state"] == "closed"
    # Of a closed one the administrator has just logged in.
    users = [] if is_closed else [("mongodb_admin_user", settings.mongodb_admin_user, "admin", password_file(settings))]
    for site in settings.all_sites:
        file = f"{site.credentials_folder}/{MONGODB_BACKEND}"
        users.append(("mongodb_backend_user", site.mongodb_backend_user, site.mongodb_database, file))
    for name, user, database, file in users:
        # Without access control nobody logs in as the user in the site's own database.
        is_taken = user in taken or (is_closed and f"{user}@{database}" in taken)
        if is_taken and file not in written:
            found = f"an existing user {user}, whose password would change"
            yield Obstacle(f"MongoDB's user {user}", found, f"another name in {name}")


def members_obstacles(data: Mapping[str, Any]) -> Iterator[Obstacle]:
    members = data.get("members", [])
    if len(members) > 1:
        found = f"the members {', '.join(members)}"
        yield Obstacle(f"replica set {data.get('set')}", found, "one member: Slipway supports no others", may_go=False)


def password_file(settings: Settings) -> str:
    return f"{settings.credentials_folder}/{MONGODB_ADMIN}"


def is_begun(data: Mapping[str, Any]) -> bool:
    """Whether a MongoDB (facts.MongodbData) requires a password and has no user yet: an interrupted apply's."""
    return data.get("state") == "closed" and not data.get("has_users", True)


def has_password(earlier: Mapping[str, str], settings: Settings) -> bool:
    """Whether the administrator's password is given, or is on the host: an interrupted apply may have enabled
    authentication, with one of Slipway's."""
    return MONGODB_ADMIN in settings.secrets or password_file(settings) in earlier.get("credentials", "").split()


def version_obstacles(version: str, settings: Settings) -> Iterator[Obstacle]:
    """Data of one series can be read only by it and the next series, and never be downgraded."""
    series = ".".join(version.split(".")[:2])
    if series and series != settings.mongodb_version:
        need = f"{setting('mongodb_version', series)} to adopt it as it is"
        yield Obstacle("mongod", f"version {version} with data", need, may_go=False)
