"""MongoDB's replica set, with this server as its only member: for transactions, change streams, and the oplog that
backups read. Several members are in tasks/mongodb_members.py.

Drivers connect to the host names in the set's configuration. So a member's name must resolve to it on every client, and
must not change. An address may change, and so may the site's domain, which also depends on a DNS that may be
unavailable at boot. The name is therefore below .internal, which no DNS serves (https://www.icann.org/en/
board-activities-and-meetings/materials/approved-resolutions-special-meeting-of-the-icann-board-29-07-2024-en): a host
without an entry in /etc/hosts gets an error, never another server. On this host it resolves to the address that mongod
listens on, on other hosts with a backend to the database host's. Further members are mongodb-2.internal and
mongodb-3.internal, without a change to the first.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.facts import mongodb_set as program_of_set
from slipway.facts.base import Output, key_values
from slipway.facts.mongodb import program
from slipway.facts.mongodb_protocol import PRIVILEGED_PORTS
from slipway.ops.commands import Commands, ensure
from slipway.ops.units import Around, Ready, undone_by_timer
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings.members import is_several, names
from slipway.settings.model import Settings
from slipway.settings.mongodb import MIN_OPLOG_MB
from slipway.tasks.mongodb_members import KEYFILE, name_members
from slipway.tasks.mongodb_users import found_users, users_of


def member(settings: Settings) -> str:
    """The member's name in the set's configuration: host:port."""
    return f"{settings.mongodb_member}:{settings.mongodb_port}"


def put_key() -> None:
    """The key by which the members authenticate each other. MongoDB requires it even with a single member."""
    ensure(
        name="Create the replica set's key",
        check=f'[ -s {KEYFILE} ] && [ "$(stat -c %U:%G:%a {KEYFILE})" = mongodb:mongodb:400 ]',
        command=f"umask 077; [ -s {KEYFILE} ] || {{ head -c 512 /dev/urandom | base64 -w 0 > {KEYFILE}.new"
        f" && sync {KEYFILE}.new && mv -fT {KEYFILE}.new {KEYFILE}; }}; chown mongodb:mongodb {KEYFILE}"
        f" && chmod 400 {KEYFILE}",
        note=f"{KEYFILE}: mongodb:mongodb 400",
    )


def name_member(settings: Settings) -> None:
    """Before mongod starts, as it must resolve its own name; and where a backend does, those of all members."""
    if is_several(settings):
        name_members(settings)
        return
    ((name, address),) = names(settings)
    others = f"grep -v '[[:space:]]{name}$' /etc/hosts"
    ensure(
        name="Name the replica set's member",
        check=f"getent ahostsv4 {name} | grep -q '^{address} '",
        # In a container it may be a mount point, which a rename can't replace.
        command=f"new=/etc/hosts.slipway-new; {{ {others}; echo '{address} {name}'; }} > $new && sync $new"
        " && { mv -fT $new /etc/hosts 2> /dev/null || { cat $new > /etc/hosts && rm $new; }; }",
        note=f"/etc/hosts: {address} {name}",
    )


def begins(settings: Settings) -> Ready | None:
    """The readiness check after a restart: the set accepts writes. Initiates the set if there is none."""
    if not settings.mongodb_replica_set:
        return None
    waiting = clients_wait(settings)
    return Ready(_asked(settings, "begin"), settings.limits.ready, before=waiting.before, after=waiting.after)


def clients_wait(settings: Settings) -> Around:
    """Around a restart, until the set accepts writes: clients are refused as long as by a server that is down, and try
    again. Until a set has a primary member, it answers each of their requests with an error.

    Root's ports are spared, from which the set is initiated. Where the rule can't be set, clients get those errors.
    """
    rule = (
        f"iptables -w 5 {{}} INPUT -p tcp --syn --dport {settings.mongodb_port} ! --sport 1:{PRIVILEGED_PORTS}"
        " -j REJECT --reject-with tcp-reset 2> /dev/null || :"
    )
    # Longer than a restart may take.
    return undone_by_timer(Around(rule.format("-I"), rule.format("-D")), "clients-wait", 3 * settings.limits.ready)


@operation()
def replica_set(settings: Settings) -> Commands:
    """Make sure that the set is initiated and accepts writes, and that its oplog has the configured size."""
    wanted = settings.mongodb_oplog_mb
    if wanted:
        found = key_values(host.get_fact(Output, command=_asked(settings, "look")).splitlines())
    else:
        # The same query as for the users: a program less to start.
        found = found_users(settings, users_of(settings))
    state, size = found.get("state", "away"), int(found.get("oplog", 0))
    if state == "primary" and (not wanted or not size or size == wanted):
        return
    if state == "primary":
        notes.note(f"oplog: {size} MiB -> {wanted} MiB")
    else:
        notes.note(f"replica set {settings.mongodb_replica_set}: initiated with {member(settings)}")
    begin = _asked(settings, "begin")
    # A member that did not find itself by its name as it started, as /etc/hosts led elsewhere, looks again only when it
    # starts. One that is no member yet loses nothing.
    yield f"systemctl restart mongod.service && {begin}" if state == "new" else begin


def _asked(settings: Settings, step: str) -> str:
    file = f"{settings.admin_credentials_folder}/{MONGODB_ADMIN}"
    where = (settings.mongodb_local, settings.mongodb_port, settings.limits.mongodb_answer)
    its = (settings.mongodb_replica_set, member(settings), settings.mongodb_oplog_mb)
    return program(program_of_set, step, *where, *its, settings.mongodb_admin_user, file)


def set_problems(settings: Settings, free_mb: int) -> list[str]:
    """Whether the disk has room for a new oplog at its full size."""
    need = settings.mongodb_oplog_mb or MIN_OPLOG_MB
    command = f"[ -e {KEYFILE} ] || echo new"
    if not settings.mongodb_replica_set or free_mb >= need or host.get_fact(Output, command=command) != "new":
        return []
    hint = 'a larger disk, or mongodb_replica_set = "", without transactions and backups to the second'
    return [
        f"mongodb_oplog_mb: found {free_mb} MiB free on the disk of the data, need {need} MiB for the oplog ({hint})"
    ]
