"""The members of a replica set of several: who they are, and one change at a time.

Sent to a member's host and run there by its Python, as root: `python3 -ISc TEXT STEP ADDRESS PORT SECONDS KEYFILE
ARGUMENT...`. It logs in to the member at ADDRESS as MongoDB's internal user by the set's key, as members do to each
other. On failure it exits with 1 and a line on stderr. STEP is one of:

look             prints `state=` away, or as mongodb_protocol.state_of has it; `set=`, `id=` and `primary=` of its
                 replica set, `me=` its own name in it, `oplog=` the oplog's size in MiB, `collections=` their number
                 without MongoDB's own, `tls=` its net.tls.mode, and for each member a line `member HOST:PORT=VOTES`, or
                 `arbiter HOST:PORT=VOTES`, and `aside HOST:PORT=` hidden or delayed. Always exits with 0.
ready            succeeds if the member does its work: as primary, or as secondary of one; or if it is in no set yet.
leave            before a restart: waits until the other members are well, hands over if this is the primary, and fails
                 where the rest would have no majority.
grow SYNC MEMBER...  on the primary: makes each MEMBER (HOST:PORT) a voting member, one step at a time: without a vote
                 until it has all data, for which it may take SYNC seconds. Prints what was done, a line each. On
                 another member does nothing.
remove MEMBER    on the primary: leaves MEMBER out, unless the rest would have no majority. As above.
stepdown         on the primary: hands over to another member. As above.
resize MB        gives the oplog this size, in MiB.
rotate           reads the files of its certificate anew.
status           prints each member as JSON: what MongoDB calls it, and what it says of it.

A configuration is never forced: MongoDB accepts one only from the primary of a majority.
https://www.mongodb.com/docs/manual/reference/command/replSetReconfig/
https://www.mongodb.com/docs/manual/tutorial/expand-replica-set/
"""

from __future__ import annotations

import sys
import time

from slipway.facts.mongodb_protocol import Connection, Typed, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# BSON's type.
OBJECT_ID = 7
MIB = 2**20
PRIMARY, SECONDARY = 1, 2
# Another change is under way, or not yet on a majority.
# https://github.com/mongodb/mongo/blob/r7.0.0/src/mongo/base/error_codes.yml
BUSY = (109, 308)
# How long the other members have to catch up before the primary hands over.
CATCH_UP_SECONDS = 10
# How long it does not become primary again; MongoDB's own 60 would keep three members from three steps in a minute.
STEP_DOWN_SECONDS = 20


class Refused(Exception):
    """What keeps a step from being taken."""


def asked(connection: Connection, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
    answer = connection.run(command, database)
    if not answer["ok"]:
        raise Refused(f"MongoDB refuses {next(iter(command))}: {answer.get('errmsg')}")
    return answer


def key_of(file: str) -> str:
    """The password of the internal user: the key without white space."""
    try:
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123
            return "".join(opened.read().split())
    except OSError:
        return ""


def log_in(connection: Connection, file: str) -> bool:
    key = key_of(file)
    return bool(key) and connection.logs_in("__system", key, "local")


def until(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def stored(connection: Connection) -> dict[str, Any]:
    """The configuration that a member has on its disk, {} for none: a member of no set answers this, too."""
    found = asked(connection, {"find": "system.replset"}, "local")["cursor"]["firstBatch"]
    return dict(found[0]) if found else {}


def id_of(config: dict[str, Any]) -> str:
    return bytes(config.get("settings", {}).get("replicaSetId", b"")).hex()


def collections(connection: Connection) -> int:
    return int(asked(connection, {"serverStatus": 1}).get("catalogStats", {}).get("collections", 0))


class Member:
    """The member on this host."""

    def __init__(self, address: str, port: str, seconds: str, keyfile: str) -> None:
        self.seconds, self.keyfile = int(seconds), keyfile
        # MongoDB's own time limit comes first.
        self.connection = Connection(address, int(port), self.seconds + 5)
        self.hello = self.connection.run({"hello": 1})
        self.state = state_of(self.hello)

    @property
    def limit(self) -> dict[str, int]:
        """Of a command that changes something."""
        return {"maxTimeMS": max(self.seconds, CATCH_UP_SECONDS + 1) * 1000}

    def log_in(self) -> None:
        if not log_in(self.connection, self.keyfile):
            raise Refused(f"MongoDB rejects the key in {self.keyfile}")

    def now(self) -> str:
        self.hello = self.connection.run({"hello": 1})
        return state_of(self.hello)

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = asked(self.connection, {"replSetGetConfig": 1})["config"]
        return config

    def healthy(self) -> set[str]:
        """The members that have the data, as this one sees them."""
        members = asked(self.connection, {"replSetGetStatus": 1})["members"]
        return {one["name"] for one in members if one["health"] and one["state"] in (PRIMARY, SECONDARY)}

    def check_majority(self, members: list[dict[str, Any]], healthy: set[str], step: str) -> None:
        voters = [one["host"] for one in members if one["votes"]]
        there = [name for name in voters if name in healthy]
        if len(there) * 2 <= len(voters):
            missing = ", ".join(name for name in voters if name not in healthy)
            raise Refused(
                f"{step}: {len(there)} of {len(voters)} voting members would be well, which is no majority, and nobody"
                f" could write; not well: {missing}"
            )

    def reconfigure(self, members: list[dict[str, Any]], step: str) -> None:
        """One step: the set with these members. Raises Refused."""
        config = self.config()
        config.pop("term", None)
        config["version"] += 1
        config["members"] = members
        if its_id := config.get("settings", {}).get("replicaSetId"):
            config["settings"]["replicaSetId"] = Typed(OBJECT_ID, its_id)
        answer: dict[str, Any] = {}

        def is_taken() -> bool:
            answer.update(self.connection.run({"replSetReconfig": config, **self.limit}))
            return answer.get("code") not in BUSY or bool(answer["ok"])

        until(is_taken, self.seconds)
        if not answer["ok"]:
            raise Refused(f"{step}: {answer.get('errmsg')}")
        print(f"{step}: done")


def aside(one: dict[str, Any]) -> str:
    """How a member was set aside by hand, "" if it was not: one of a delay must not be primary."""
    return "hidden" if one.get("hidden") else "delayed" if one.get("secondaryDelaySecs") else ""


def look(member: Member) -> None:
    hello = member.hello
    lines = {"state": member.state, "set": hello.get("setName", ""), "primary": hello.get("primary", "")}
    lines["me"] = hello.get("me", "")
    found = {}
    if log_in(member.connection, member.keyfile):
        try:
            config = stored(member.connection)
            lines |= {"set": config.get("_id", lines["set"]), "id": id_of(config)}
            found = {one["host"]: one for one in config.get("members", [])}
            lines["collections"] = str(collections(member.connection))
            listed = member.connection.run({"collStats": "oplog.rs"}, "local")
            lines["oplog"] = str(int(listed.get("maxSize", 0)) // MIB)
            lines["tls"] = asked(member.connection, {"getParameter": 1, "tlsMode": 1})["tlsMode"]
        except Refused:
            pass
    # Without access control it tells everybody; before MongoDB 5.1 it does not count them.
    elif counted := member.connection.run({"serverStatus": 1}).get("catalogStats"):
        lines["collections"] = str(int(counted["collections"]))
    votes = {"hosts": 1, "passives": 1, "arbiters": 1}
    named = {
        name: {"votes": vote, "arbiterOnly": kind == "arbiters"}
        for kind, vote in votes.items()
        for name in hello.get(kind, [])
    }
    for name, one in (found or named).items():
        lines[f"{'arbiter' if one.get('arbiterOnly') else 'member'} {name}"] = str(int(one["votes"]))
    lines |= {f"aside {name}": why for name, one in found.items() if (why := aside(one))}
    for name, value in lines.items():
        print(f"{name}={value}")


def check_ready(member: Member) -> None:
    if member.state in ("new", "primary", "secondary"):
        return
    # One that was emptied gets its data from the others, which may take long.
    member.log_in()
    if "initialSyncStatus" not in asked(member.connection, {"replSetGetStatus": 1, "initialSync": 1}):
        raise Refused(f"MongoDB is {member.state} in its replica set")


def leave(member: Member) -> None:
    # A member of no set is missed by nobody; for the only one with a vote nobody could stand in.
    if member.state in ("alone", "new"):
        return
    member.log_in()
    own = member.hello.get("me", "")
    members = member.config()["members"]
    others = {one["host"] for one in members} - {own}
    if not any(one["votes"] for one in members if one["host"] != own):
        return
    until(lambda: others <= member.healthy(), member.seconds)
    healthy = member.healthy() - {own}
    member.check_majority(members, healthy, "restart")
    electable = {one["host"] for one in members if one["priority"] and one["host"] in healthy}
    if electable and member.now() == "primary":
        step_down(member)


def thaw(member: Member) -> None:
    """Let the other members become primary, those too that have just handed over: MongoDB hands over to any of them,
    and if that one may not yet, nobody is primary until an election after 10 s."""
    for one in member.config()["members"]:
        address, _, port = one["host"].rpartition(":")
        if one["host"] == member.hello.get("me"):
            continue
        try:
            connection = Connection(address, int(port), CATCH_UP_SECONDS)
            if log_in(connection, member.keyfile):
                connection.run({"replSetFreeze": 0})
        except OSError:
            # One that is down is no candidate.
            continue


def step_down(member: Member) -> None:
    member.log_in()
    thaw(member)
    command = {"replSetStepDown": STEP_DOWN_SECONDS, "secondaryCatchUpPeriodSecs": CATCH_UP_SECONDS}
    asked(member.connection, command | member.limit)
    if not until(lambda: member.now() == "secondary", member.seconds):
        raise Refused(f"no other member has become primary after {member.seconds} s")
    print(f"primary: {member.hello.get('me')} -> {member.hello.get('primary')}")


def grow(member: Member, sync_seconds: str, *wanted: str) -> None:
    if member.now() != "primary":
        return
    member.log_in()
    its_id = id_of(member.config())
    for name in wanted:
        members = member.config()["members"]
        if name in {one["host"] for one in members}:
            print(f"{name}: is a member")
            continue
        check_joiner(member, name, its_id)
        number = max(one["_id"] for one in members) + 1
        new = {"_id": number, "host": name, "priority": 0, "votes": 0}
        member.reconfigure([*members, new], f"add {name} without a vote")
    due = [one for one in member.config()["members"] if one["host"] in wanted and not one["votes"] and not aside(one)]
    waiting = {one["host"] for one in due}
    if waiting and not until(lambda: waiting <= member.healthy(), int(sync_seconds)):
        late = ", ".join(sorted(waiting - member.healthy()))
        raise Refused(f"{late}: still without all data after {sync_seconds} s; run it again: it goes on")
    for name in (name for name in wanted if name in waiting):
        members = member.config()["members"]
        changed = [{**one, "votes": 1, "priority": 1} if one["host"] == name else one for one in members]
        member.check_majority(changed, member.healthy(), f"give {name} a vote")
        member.reconfigure(changed, f"give {name} a vote")


def check_joiner(member: Member, name: str, its_id: str) -> None:
    """Raises Refused where MongoDB would overwrite data by making a server a member, or could not."""
    address, _, port = name.rpartition(":")
    found: list[Connection] = []

    def answers() -> bool:
        try:
            found.append(Connection(address, int(port), member.seconds))
        except OSError:
            return False
        return True

    if not until(answers, member.seconds):
        raise Refused(f"{name}: does not answer from here")
    connection = found[0]
    hello = connection.run({"hello": 1})
    if state_of(hello) != "new":
        others = ", ".join(hello.get("hosts", [])) or "none"
        raise Refused(f"{name}: is in a replica set of its own, {hello.get('setName')!r} with {others}")
    if not log_in(connection, member.keyfile):
        raise Refused(f"{name}: has another key than this member")
    config = stored(connection)
    if config and id_of(config) != its_id:
        raise Refused(f"{name}: has the data of another replica set, {config.get('_id')!r}")
    if not config and (count := collections(connection)):
        raise Refused(f"{name}: has data of its own, {count} collections, which it would lose as a member")


def remove(member: Member, name: str) -> None:
    if member.now() != "primary":
        return
    member.log_in()
    members = member.config()["members"]
    rest = [one for one in members if one["host"] != name]
    if len(rest) == len(members):
        print(f"{name}: is no member")
        return
    if name == member.hello.get("me"):
        raise Refused(f"{name} is the primary: hand over first (slipway db stepdown)")
    member.check_majority(rest, member.healthy(), f"remove {name}")
    member.reconfigure(rest, f"remove {name}")


def status(member: Member) -> None:
    import json

    member.log_in()
    config = {one["host"]: one for one in member.config()["members"]}
    members = asked(member.connection, {"replSetGetStatus": 1})["members"]
    newest = max(one.get("optimeDate", 0) for one in members)
    for one in members:
        its = config.get(one["name"], {})
        shown = {
            "name": one["name"],
            "state": one["stateStr"],
            "health": int(one["health"]),
            "votes": its.get("votes", 0),
            "behind": (newest - one["optimeDate"]) // 1000 if one.get("optimeDate") else None,
            "said": one.get("lastHeartbeatMessage") or one.get("infoMessage") or "",
        }
        print(json.dumps(shown))


def main(step: str, address: str, port: str, seconds: str, keyfile: str, *arguments: str) -> None:
    try:
        member = Member(address, port, seconds, keyfile)
    except OSError as error:
        # One that is down leaves nobody.
        if step in ("look", "leave"):
            print("state=away")
            return
        sys.exit(f"MongoDB does not answer: {error}")
    try:
        if step == "look":
            look(member)
        elif step == "ready":
            check_ready(member)
        elif step == "leave":
            leave(member)
        elif step == "grow":
            grow(member, *arguments)
        elif step == "remove":
            remove(member, *arguments)
        elif step == "resize":
            member.log_in()
            asked(member.connection, {"replSetResizeOplog": 1, "size": float(arguments[0]), **member.limit})
        elif step == "rotate":
            member.log_in()
            asked(member.connection, {"rotateCertificates": 1})
        elif step == "stepdown":
            if member.state == "primary":
                step_down(member)
        else:
            status(member)
    except (Refused, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
