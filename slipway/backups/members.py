"""A replica set of several members: what a backup and a restore do differently there.

A backup reads a secondary. A restore can't exchange the data folder, as the other members would keep theirs: each
collection is copied beside the present one, through the primary to all members, and takes its place when all copies are
complete. An exchange of collections that is interrupted is taken back; `exchanging` in the state says how far it came.

https://www.mongodb.com/docs/manual/reference/command/renameCollection/
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from slipway.backups import mongo
from slipway.backups.host import Facts, Failed, change_state, read_state, tell
from slipway.backups.mongo import Scratch, Server, end_with_parent
from slipway.backups.oplog import ARRAY, DOCUMENT, elements
from slipway.facts.mongodb_members import CATCH_UP_SECONDS, STEP_DOWN_SECONDS, until
from slipway.facts.mongodb_protocol import Typed

# A copy beside the present collection, and a present one that was moved aside, by the ends of their names.
RESTORED, REPLACED = ".slipway_restored", ".slipway_replaced"
# How long a set may take to have a primary, and a member to catch up with it.
PATIENCE_SECONDS = 60


class Place(NamedTuple):
    """A member of the set, and how MongoDB's tools reach it; `member` is None for the one on this host."""

    server: Server
    uri: str
    member: mongo.Address | None = None


def is_one_of_several(hello: dict[str, Any]) -> bool:
    """`hello` is a server's answer to it."""
    return len([*hello.get("hosts", []), *hello.get("passives", [])]) > 1


def primary(facts: Facts) -> Place:
    """The member that accepts writes: this one, or another, by TLS where the members have certificates. Raises
    Failed."""
    here = mongo.live(facts)
    hello = here.ask({"hello": 1})
    if "setName" not in hello or hello.get("isWritablePrimary"):
        return Place(here, mongo.uri(facts))
    if not until(lambda: bool(_primary_of(here)), PATIENCE_SECONDS):
        raise Failed("the replica set has no primary: see `slipway db status`")
    name, _, port = _primary_of(here).rpartition(":")
    member = name, int(port)
    return Place(mongo.live(facts, member), mongo.uri(facts, member), member)


def _primary_of(server: Server) -> str:
    """The primary's name and port as a member knows them, "" for none."""
    return str(server.ask({"hello": 1}).get("primary", ""))


def hand_over(facts: Facts) -> None:
    """Let another member become primary, so that a backup does not compete with the site's writes. Where none can,
    stay."""
    server = mongo.live(facts)
    hello = server.ask({"hello": 1})
    if not hello.get("isWritablePrimary") or not is_one_of_several(hello):
        return
    refusals: list[str] = []

    def is_done() -> bool:
        try:
            server.ask({"replSetStepDown": STEP_DOWN_SECONDS, "secondaryCatchUpPeriodSecs": CATCH_UP_SECONDS})
        except Failed as refusal:
            # Who was primary a moment ago is not electable yet.
            refusals.append(str(refusal))
            return False
        return True

    if not until(is_done, PATIENCE_SECONDS):
        tell(f"The backup reads the primary: {refusals[-1]}")
        return
    until(lambda: bool(_primary_of(server)), PATIENCE_SECONDS)
    tell("Handed over to another member: the backup reads a secondary")


def catch_up(server: Server, to: Server) -> None:
    """Wait until a member has what another one has now. Raises Failed."""
    newest = to.newest()
    if not until(lambda: server.applied() >= newest, PATIENCE_SECONDS):
        raise Failed(f"this member is more than {PATIENCE_SECONDS} s behind the primary: see `slipway db status`")


# --- A restore -------------------------------------------------------------------------------------------------------


def present(server: Server) -> list[str]:
    """The collections as namespaces, "shop.orders", without those that a restore adds for a while."""
    return [name for name in _all(server) if not name.endswith((RESTORED, REPLACED))]


def _all(server: Server) -> list[str]:
    return [f"{database}.{name}" for database, name in server.collections()]


def of(names: Iterable[str], only: str) -> list[str]:
    """Those of some collections that `only` names: one, or all of a database. Raises Failed."""
    there = [*names]
    wanted = [only] if only in there else [name for name in there if name.startswith(f"{only}.") and "." not in only]
    if not wanted:
        raise Failed(f"found no {only} in the backup; available: {', '.join(there)}")
    return wanted


def not_copied(scratch: Server, only: str) -> list[str]:
    """What of a database, if `only` is one, is no collection that can be copied."""
    if only not in _databases(scratch):
        return []
    return [f"{only}.{name}" for kind in ("timeseries", "view") for name in _listed(scratch, only, kind)]


def copy_beside(facts: Facts, scratch: Scratch, wanted: Iterable[str]) -> None:
    """Copy collections of the rebuilt data into the set under other names, and compare them. Raises Failed, with no
    copy left."""
    place = primary(facts)
    try:
        with without_expiry(facts, place.server, place.member):
            for name in wanted:
                _copy(facts, place, scratch, name)
                database, _, collection = name.partition(".")
                original = scratch.hashed(database, collection)
                if place.server.hashed(database, f"{collection}{RESTORED}") != original:
                    raise Failed(f"{name}: the copy differs from the restored data; nothing was changed")
                tell(f"{name}: {original[0]} documents copied")
    except BaseException:
        with suppress(Failed, OSError):
            _drop(place.server, lambda name: name.endswith(RESTORED))
        raise


@contextmanager
def without_expiry(facts: Facts, server: Server, member: mongo.Address | None = None) -> Iterator[None]:
    """Keep documents that have expired (TTL indexes): a comparison would miss them. `member` is None for the server on
    this host. https://www.mongodb.com/docs/manual/core/index-ttl/"""
    if not server.ask({"getParameter": 1, mongo.TTL: 1}).get(mongo.TTL):
        yield
        return
    # Before: a restore that is killed must not leave it so.
    change_state(keeps_expired={"member": member})
    try:
        server.ask({"setParameter": 1, mongo.TTL: False})
        yield
    finally:
        with suppress(Failed, OSError):
            let_expire(facts)


def let_expire(facts: Facts) -> None:
    """Let MongoDB remove expired documents again. Raises Failed."""
    kept = read_state().get("keeps_expired")
    if kept:
        member = (str(kept["member"][0]), int(kept["member"][1])) if kept["member"] else None
        (mongo.live(facts, member) if member else mongo.live(facts)).ask({"setParameter": 1, mongo.TTL: True})
        change_state(keeps_expired=None)


def _copy(facts: Facts, place: Place, scratch: Scratch, name: str) -> None:
    database, _, collection = name.partition(".")
    _drop(place.server, lambda there: there == f"{name}{RESTORED}")
    with mongo.login_file(facts, place.uri) as login:
        words = ["mongodump", "--quiet", "--uri", scratch.uri, "--archive", "--db", database]
        dump = subprocess.Popen([*words, "--collection", collection], stdout=subprocess.PIPE)
        into = ["--nsFrom", name, "--nsTo", f"{name}{RESTORED}", "--stopOnError"]
        done = subprocess.run(
            ["mongorestore", "--quiet", "--config", login, "--archive", *into],
            stdin=dump.stdout,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=end_with_parent,
        )
        assert dump.stdout
        # Where mongorestore has failed, mongodump would wait for a reader.
        dump.stdout.close()
        if dump.wait() or done.returncode:
            raise Failed(f"copying {name} failed: {done.stderr.strip()[-300:]}")


def replace_each(facts: Facts, wanted: Iterable[str]) -> None:
    """Let copies take the place of collections while the site goes on: each at once, but not all of them together."""
    server = primary(facts).server
    for name in wanted:
        _move(server, f"{name}{RESTORED}", name)


def replace_all(facts: Facts, wanted: Iterable[str]) -> None:
    """Let copies take the place of all collections, in maintenance. Raises Failed, with all as it was."""
    server = primary(facts).server
    there = present(server)
    change_state(exchanging={"is_done": False, "new": [name for name in wanted if name not in there]})
    try:
        for name in there:
            _move(server, name, f"{name}{REPLACED}")
        for name in wanted:
            _move(server, f"{name}{RESTORED}", name)
        change_state(exchanging={"is_done": True, "new": []})
    finally:
        settle(facts)


def settle(facts: Facts) -> None:
    """Take back an exchange of collections that did not come to its end, and remove what one has left."""
    exchanging = read_state().get("exchanging")
    if not exchanging:
        return
    server = primary(facts).server
    if not exchanging["is_done"]:
        _drop(server, lambda name: name in exchanging["new"])
        for name in [one for one in _all(server) if one.endswith(REPLACED)]:
            _move(server, name, name.removesuffix(REPLACED))
        tell("The exchange of collections was taken back: the data are as before")
    _drop(server, lambda name: name.endswith((RESTORED, REPLACED)))
    change_state(exchanging=None)


def _move(server: Server, name: str, to: str) -> None:
    """Rename a collection, on a majority of the members."""
    majority = {"writeConcern": {"w": "majority", "wtimeout": PATIENCE_SECONDS * 1000}}
    server.ask({"renameCollection": name, "to": to, "dropTarget": True, **majority})


def _drop(server: Server, is_meant: Callable[[str], bool]) -> None:
    for database, collection in server.collections():
        if is_meant(f"{database}.{collection}"):
            server.ask({"drop": collection}, database)


# --- Views -----------------------------------------------------------------------------------------------------------


def check_kinds(scratch: Server) -> None:
    """Raises Failed where there is a collection that MongoDB can't rename."""
    databases = _databases(scratch)
    if series := [f"{database}.{name}" for database in databases for name in _listed(scratch, database, "timeseries")]:
        raise Failed(
            f"{', '.join(series)}: time series, which MongoDB does not rename: they can be restored to a set of one"
            " member alone (docs/scale.md)"
        )


def replace_views(server: Server, scratch: Server) -> None:
    """Views hold no data: they are made anew, as they were."""
    for database in {*_databases(server), *_databases(scratch)}:
        wanted = _listed(scratch, database, "view")
        for name, options in _listed(server, database, "view").items():
            if wanted.get(name) == options:
                del wanted[name]
            else:
                server.ask({"drop": name}, database)
        for name, options in wanted.items():
            given = {one.name: Typed(one.kind, one.value) for one in elements(options)}
            server.ask({"create": name, **given}, database)


def _databases(server: Server) -> list[str]:
    listed = server.ask({"listDatabases": 1, "nameOnly": True})["databases"]
    return [its["name"] for its in listed if its["name"] not in mongo.SYSTEMS_OWN]


def _listed(server: Server, database: str, kind: str) -> dict[str, bytes]:
    """The options, as BSON, of the collections of a kind: "view", "timeseries"."""
    command: dict[str, Any] = {"listCollections": 1, "filter": {"type": kind}, "cursor": {"batchSize": 10**6}}
    answer = _part(server.connection.answer(command, database), "cursor")
    found = {}
    for one in elements(_part(answer, "firstBatch")):
        fields = {its.name: its for its in elements(one.value)}
        found[fields["name"].value[4:-1].decode()] = fields["options"].value
    return found


def _part(document: bytes, name: str) -> bytes:
    return next(one.value for one in elements(document) if one.name == name and one.kind in (DOCUMENT, ARRAY))
