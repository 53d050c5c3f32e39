"""A replica set of several members, one on each host with the role db.

One host begins the set, or has it already; the others join. Which is which is found out before anything changes, from
the answers of all db hosts. What a step may do is checked once more on the host (slipway/facts/mongodb_members.py), as
things may have changed since.

pyinfra carries an operation out on all hosts side by side and waits for all before the next one. So the members have
the key, their names and a running mongod before the primary adds them; and one operation restarts a member at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, cast

from pyinfra import host
from pyinfra.api import Host, operation
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import across, notes
from slipway.engine.uploads import with_input
from slipway.facts import mongodb_members as program_of_members
from slipway.facts.files import FileState, Modified
from slipway.facts.machine import Machine
from slipway.facts.mongodb import MongodbMember, program
from slipway.facts.units import Unit
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import put, put_template, write_script
from slipway.ops.units import Ready, is_stale, know, restart, restarts, service
from slipway.settings.members import Member, is_on_several_hosts, is_several, members_of, names
from slipway.settings.model import Settings
from slipway.tasks.adoption_facts import earlier_mongodb

KEYFILE = "/etc/mongod.keyfile"
# "ADDRESS NAME" of each member, for the start of mongod.
NAMES = "/etc/mongod.members"
# On a host with a backend and without mongod: puts those names back at boot, before the backends start.
NAMES_UNIT = "slipway-names.service"
# An attribute of pyinfra's state: the place of each host of the run, by its name.
PLACES = "slipway_places"
IN_SET = ("primary", "secondary", "waiting")


@dataclass(frozen=True)
class Place:
    """What this host is to the set, before anything changes."""

    # It begins the set, or is its only member.
    is_founder: bool = False
    # It is one of several members.
    is_member: bool = False
    # Of a host that joins: the one in the inventory that has the set's key, or will have it.
    key_of: str = ""
    problems: tuple[str, ...] = ()


def look_of(settings: Settings, member: Member) -> tuple[type[MongodbMember], dict[str, Any]]:
    seconds = settings.limits.mongodb_answer
    return MongodbMember, {"address": member.local, "port": member.port, "keyfile": KEYFILE, "seconds": seconds}


def look(settings: Settings) -> dict[str, str]:
    """facts.MongodbMember of this host."""
    (here,) = [one for one in members_of(settings) if one.is_here]
    fact, arguments = look_of(settings, here)
    found: dict[str, str] = host.get_fact(fact, **arguments)
    return found


def place(settings: Settings) -> Place:
    """This host's place, from the answers of all db hosts of the run; the only one of an inventory begins its set."""
    if not is_several(settings):
        # Where it was one of several, they are left out of the inventory too early.
        here = members_of(settings)
        was_one = bool(here and host.get_fact(FileState, path=NAMES))
        left = _problems_of_strangers(members_in(look(settings)), here) if was_one else []
        return Place(is_founder=True, problems=tuple(left))
    places: dict[str, Place] = vars(host.state).setdefault(PLACES, {})
    if host.name not in places:
        its = {one.host: one for one in members_of(settings)}
        looks = across.facts(host, its, lambda one: look_of(settings, its[one.name]))
        found = place_of(list(its.values()), looks)
        in_set = {name: one for name, one in looks.items() if found.is_member and one.get("state") in IN_SET}
        more = _problems_of_tls(settings.mongodb_tls, in_set)
        if host.name == next((name for name in its if name in looks), ""):
            more += _problems_of_number(list(its.values()), looks)
        places[host.name] = replace(found, problems=(*found.problems, *more))
    return places[host.name]


def place_of(members: Sequence[Member], looks: Mapping[str, Mapping[str, str]]) -> Place:
    """As `place`; `looks` are facts.MongodbMember by host, without those that the run does not reach."""
    (here,) = [one for one in members if one.is_here]
    sets: dict[str, list[str]] = {}
    for one in members:
        if identity := _set_of(looks.get(one.host, {}), looks):
            sets.setdefault(identity, []).append(one.host)
    # Of several the one of most hosts, and of the first of the inventory: the others' data are of others.
    the_set = max(sets, key=lambda identity: len(sets[identity])) if sets else ""
    own = looks.get(here.host, {})
    if not the_set:
        return _place_of_new_set(members, looks, here)
    if _set_of(own, looks) == the_set and (own.get("state") in IN_SET or f"member {here.at}" in own):
        found = members_in(own)
        problems = []
        if own.get("state") in IN_SET and here.at not in found:
            problems.append(
                f"mongodb_member: found {here.at}, which the replica set {own.get('set')} calls"
                f" {own.get('me') or ', '.join(found)}, need that name: a set keeps its members' names"
            )
        if arbiters := [name.partition(" ")[2] for name in own if name.startswith("arbiter ")]:
            problems.append(
                f"MongoDB's replica set: found the arbiter {', '.join(arbiters)}, need members with data alone: it"
                " votes without data, and writes wait when a member with data is away (remove it: rs.remove)"
            )
        is_only = set(found) <= {here.at}
        # It has been given another key than it runs with.
        others = [name for name in sets[the_set] if name != here.host]
        key_of = others[0] if others and not own.get("id") else ""
        if own.get("state") == "primary" and here.at in found:
            problems += _problems_of_strangers(found, members)
        return Place(is_only, not is_only, key_of, tuple(problems))
    belongs = _set_of(own, looks) == the_set
    return Place(key_of=sets[the_set][0], problems=() if belongs else tuple(_problems_of_joiner(own)))


def _problems_of_number(members: Sequence[Member], looks: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Whether the inventory makes an even number of members, told once. A set that has as many, as after one of three
    was removed, is left as it is."""
    if len(members) % 2:
        return []
    if any({one.at for one in members} <= members_in(look).keys() for look in looks.values()):
        notes.note(f"MongoDB's replica set: {len(members)} members survive no more failures than one less; add another")
        return []
    return [
        f"db: found {len(members)} hosts, expected an odd number of members: one more survives no more failures. An"
        " arbiter is none of the ways out: it votes without data, and writes wait when a member with data is away"
    ]


def _place_of_new_set(members: Sequence[Member], looks: Mapping[str, Mapping[str, str]], here: Member) -> Place:
    """Where no host that was asked is in a set: one of them begins it, with its data if it has any."""
    if missing := [one.host for one in members if one.host not in looks]:
        return Place(
            problems=(
                f"MongoDB's replica set: found no member of it, and {', '.join(missing)} not in this run, need all db"
                " hosts in it: they begin the set, or have it already",
            )
        )
    with_data = [one for one in members if _has_data(looks[one.host])]
    founder = (with_data or members)[0]
    if here is founder:
        return Place(is_founder=True)
    return Place(key_of=founder.host, problems=tuple(_problems_of_joiner(looks[here.host])))


def _problems_of_joiner(own: Mapping[str, str]) -> list[str]:
    """Why this host can't become a member: MongoDB would replace its data by the set's."""
    found, count = "", own.get("collections", "0")
    if members := members_in(own):
        found = f"those of another replica set, {own.get('set')} with {', '.join(members)}"
    elif own.get("state") == "alone":
        found = "those of a MongoDB without a replica set"
    elif count != "0":
        found = f"{count} collections"
    if not found:
        return []
    return [
        f"MongoDB's data: found {found}, need none, as a new member gets the data of the others: copy what is needed,"
        " stop mongod and empty its data folder, or take the host out of db"
    ]


def _problems_of_strangers(found: Iterable[str], members: Sequence[Member]) -> list[str]:
    """Members that no host of the inventory is: the firewalls would shut them out, and their votes would count."""
    known = {one.at for one in members}
    return [
        f"MongoDB's replica set: found the member {name}, which is no db host of the inventory, need it taken out"
        f" before: slipway db remove {name.rpartition(':')[0]}"
        for name in found
        if name not in known
    ]


def _problems_of_tls(wanted: str, looks: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What keeps a set's members, by host, from restarting one after the other: those that talk by TLS alone could not
    talk to those that do so in plain."""
    hinders = {"on": ("disabled",), "off": ("preferTLS", "requireTLS")}.get(wanted, ())
    found = [name for name, one in looks.items() if one.get("tls") in hinders]
    if len(looks) < 2 or not found:
        return []
    how = "in plain alone" if wanted == "on" else "by TLS"
    return [
        f'mongodb_tls: found "{wanted}" and members of the replica set that talk {how} ({", ".join(found)}), need'
        ' "allow" in an apply before: the first one to restart could not talk to the others'
    ]


def _has_data(own: Mapping[str, str]) -> bool:
    return own.get("state") == "alone" or own.get("collections", "0") != "0"


def _set_of(own: Mapping[str, str], looks: Mapping[str, Mapping[str, str]]) -> str:
    """What tells a set from others of the same name, "" for none: its id, which a member does not tell to a key that it
    rejects; its members then."""
    found = members_in(own)
    if not found or own.get("id"):
        return own.get("id", "")
    same = (other["id"] for other in looks.values() if other.get("id") and members_in(other).keys() == found.keys())
    return next(same, f"{own.get('set')} {sorted(found)}")


def members_in(own: Mapping[str, str]) -> dict[str, str]:
    """The votes of each member of the set, by host:port."""
    return {name.partition(" ")[2]: votes for name, votes in own.items() if name.startswith("member ")}


def problems(settings: Settings) -> list[str]:
    """What keeps this host from being a member, and from being reached."""
    addresses = host.get_fact(Machine)["addresses"].split()
    named = dict(zip(settings.mongodb_listens, ("mongodb_bind", "private_address"), strict=False))
    return [
        f"{name}: found {address}, which this host does not have, need one that MongoDB can listen on:"
        f" {', '.join(addresses)}"
        for address, name in named.items()
        if not address.startswith("127.") and address not in ("0.0.0.0", *addresses)  # noqa: S104
    ] + [*place(settings).problems, *_problems_of_adoption(settings)]


def _problems_of_adoption(settings: Settings) -> list[str]:
    """What an existing MongoDB without access control can't become at once: it gets its key, its addresses and TLS when
    the sites have moved, after the others would need them."""
    if not is_on_several_hosts(settings) or earlier_mongodb(settings).get("state") != "open":
        return []
    if is_several(settings):
        count = len(members_of(settings))
        return [
            f"MongoDB: found one without access control, and {count} db hosts, need it adopted by itself before:"
            f' db = ["{host.name}"], `slipway apply`, and then the others in db'
        ]
    if settings.mongodb_tls != "on":
        return []
    return [
        'mongodb_tls: found "on", and a MongoDB without access control and TLS with backends on other hosts, need'
        ' "allow" until `slipway apply` has adopted it, and then "on"'
    ]


# --- Key and names ----------------------------------------------------------------------------------------------------


def take_key(its: Place) -> None:
    if its.key_of:
        join_key(name="Install the replica set's key", source=its.key_of)


@operation()
def join_key(source: str) -> Commands:
    """Make sure that the set's key is that of another host: read when it is needed, and in no log."""
    other = host.inventory.get_host(source)
    own, key = host.get_fact(FileState, path=KEYFILE), {"sha256": ""}
    if not host.state.is_executing:
        key = across.facts(host, [source], lambda _: (FileState, {"path": KEYFILE})).get(source, key)
    text = b""
    if host.state.is_executing and not (text := across.output(other, f"cat {KEYFILE} || true").encode()):
        raise PyinfraError(f"{KEYFILE}: found no key of the replica set on {source}")
    expected = {"kind": "regular file", "owner": "mongodb", "group": "mongodb", "mode": "400"}
    digest = sha256(text).hexdigest() if text else key.get("sha256")
    if own == {**expected, "sha256": digest}:
        return
    notes.note(f"{KEYFILE}: {'changes to' if own else 'new,'} the key of {source} (secret, not shown)")
    yield with_input(write_script(KEYFILE, "400", "mongodb", "mongodb", None), text)


def name_members(settings: Settings) -> None:
    """Before mongod starts, as it must resolve all members' names; on a host with a backend, before that does."""
    wanted = names(settings)
    patterns = " ".join(f"-e '[[:space:]]{name}$'" for name, _ in wanted)
    lines = "; ".join(f"echo '{address} {name}'" for name, address in wanted)
    ensure(
        name="Name the replica set's members",
        check=" && ".join(f"getent ahostsv4 {name} | grep -q '^{address} '" for name, address in wanted),
        # In a container it may be a mount point, which a rename can't replace.
        command=f"new=/etc/hosts.slipway-new; {{ grep -v {patterns} /etc/hosts; {lines}; }} > $new && sync $new"
        " && { mv -fT $new /etc/hosts 2> /dev/null || { cat $new > /etc/hosts && rm $new; }; }",
        note="\n".join(f"/etc/hosts: {address} {name}" for name, address in wanted),
    )


def put_names(settings: Settings) -> None:
    """For the start of mongod, where the provider's cloud-init writes /etc/hosts anew at each boot."""
    lines = "".join(f"{address} {name}\n" for name, address in names(settings))
    put(name="List the replica set's members", path=NAMES, content=lines)


def names_at_boot(settings: Settings, units: Sequence[str]) -> None:
    """The same on a host without mongod, before `units` start."""
    put_names(settings)
    put_template(
        f"/etc/systemd/system/{NAMES_UNIT}",
        "backend/names.service",
        {"names": NAMES, "units": units},
        name="Configure the replica set's names at boot",
    )
    know(name="Reload systemd for the replica set's names", unit=NAMES_UNIT)
    service(name="Name the replica set's members at boot", unit=NAMES_UNIT)


# --- Restarts ---------------------------------------------------------------------------------------------------------


def restart_in_turn(settings: Settings, unit: str, files: Sequence[str], causes: Sequence[Any]) -> None:
    """Restart the members one at a time: first those that are no primary, then the primary, which hands over before."""
    ready = in_turn(settings)
    changed = restarts(*causes)

    def is_due() -> bool:
        state = cast("dict[str, str]", host.get_fact(Unit, unit=unit))
        return changed() or is_stale(state, host.get_fact(Modified, paths=tuple(files)), reloads=False)

    def is_no_primary() -> bool:
        return look(settings).get("state") != "primary"

    def others_are_well() -> bool:
        failed = [one.host for one in members_of(settings) if _has_failed(host.inventory.get_host(one.host))]
        if failed:
            raise PyinfraError(f"{', '.join(failed)} failed before: this member of the replica set is not restarted")
        return True

    first = restart(
        name="Restart MongoDB's secondaries",
        unit=unit,
        ready=ready,
        _if=[is_due, is_no_primary, others_are_well],
        _serial=True,
    )
    restart(
        name="Restart MongoDB",
        unit=unit,
        ready=ready,
        _if=[is_due, lambda: not first.did_change(), others_are_well],
        _serial=True,
    )


def in_turn(settings: Settings) -> Ready:
    """A restart only while the others are well, and a member that is one of them again."""
    return Ready(asked(settings, "ready"), settings.limits.ready, before=asked(settings, "leave"), after=":")


def _has_failed(other: Host) -> bool:
    """In this run, after it was reached."""
    return other.connected and other in host.state.failed_hosts


# --- The members ------------------------------------------------------------------------------------------------------


@operation()
def grow(settings: Settings, is_founder: bool = False) -> Commands:
    """Make sure, on the primary, that every db host is a voting member; on each that its oplog has its size."""
    own = look(settings)
    state = own.get("state")
    if (size := settings.mongodb_oplog_mb) and state in ("primary", "secondary") and own.get("oplog") != str(size):
        notes.note(f"oplog: {own.get('oplog')} MiB -> {size} MiB")
        yield asked(settings, "resize", size)
    # Before the first start, the one that begins the set is going to be its primary.
    if state != "primary" and not (is_founder and state != "secondary" and not host.state.is_executing):
        return
    found = {} if state != "primary" else members_in(own)
    due = [one for one in members_of(settings) if found.get(one.at, "0") == "0" and not one.is_here]
    for one in due:
        if said := own.get(f"aside {one.at}"):
            notes.note(f"replica set {settings.mongodb_replica_set}: {one.at}: {said} by hand; gets no vote")
    due = [one for one in due if f"aside {one.at}" not in own]
    # Waiting for one that is dead would keep this host from all that comes after MongoDB.
    reached = {other.name for other in across.of_run(host, [one.host for one in due])}
    for one in due:
        if one.host not in reached:
            notes.note(f"replica set {settings.mongodb_replica_set}: {one.at}: left out, as this run does not reach it")
    lacking = [one.at for one in due if one.host in reached]
    if not lacking:
        return
    for name in lacking:
        how = "has no vote yet" if name in found else "added without a vote"
        notes.note(f"replica set {settings.mongodb_replica_set}: {name}: {how}; gets one when it has all data")
    yield asked(settings, "grow", settings.limits.initial_sync, *lacking)


def asked(settings: Settings, step: str, *arguments: object) -> str:
    where = (settings.mongodb_local, settings.mongodb_port, settings.limits.ready, KEYFILE)
    return program(program_of_members, step, *where, *arguments)
