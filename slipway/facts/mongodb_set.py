"""The replica set of a MongoDB on this host: its state, and its initiation.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT STEP ADDRESS PORT SECONDS SET MEMBER OPLOG_MB
USER FILE`. FILE has the password of USER, MongoDB's administrator. STEP is one of:

look    prints `state=` away, or as mongodb_protocol.state_of has it; `oplog=` the oplog's size in MiB, if it can be
        read. Always exits with 0.
begin   initiates the set SET with MEMBER (host:port) if there is none, or gives the only member of the one that is
        there this name and port; waits up to SECONDS until it accepts writes, and sets the oplog's size to OPLOG_MB, 0
        for MongoDB's default. On failure exits with 1 and a line on stderr.
        Connects from a port below 1024, as other clients may have to wait until then (tasks/mongodb_set.py).

https://www.mongodb.com/docs/manual/reference/command/replSetInitiate/
https://www.mongodb.com/docs/manual/reference/command/replSetReconfig/
https://www.mongodb.com/docs/manual/reference/command/replSetResizeOplog/
"""

from __future__ import annotations

import sys
import time

from slipway.facts.mongodb_protocol import UNAUTHORIZED, Connection, Typed, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALREADY_INITIALIZED = 23
# BSON's type.
OBJECT_ID = 7
MIB = 2**20


def log_in(connection: Connection, user: str, file: str) -> bool:
    try:
        with open(file, encoding="utf-8", newline="") as opened:  # noqa: PTH123
            return connection.logs_in(user, opened.read())
    except OSError:
        return False


def oplog_mb(connection: Connection) -> int:
    """The oplog's maximum size, 0 if it can't be read."""
    listed = connection.run({"collStats": "oplog.rs"}, "local")
    return int(listed.get("maxSize", 0)) // MIB


def look(address: str, port: str, seconds: str, user: str, file: str) -> None:
    try:
        connection = Connection(address, int(port), int(seconds))
        state = state_of(connection.run({"hello": 1}))
        print(f"state={state}")
        if state == "primary" and log_in(connection, user, file):
            print(f"oplog={oplog_mb(connection)}")
    except OSError:
        print("state=away")


def move(connection: Connection, member: str, user: str, file: str) -> dict[str, Any]:
    """MongoDB's answer to the configuration of a set of one with its member's new name or port. By force, as the set
    has no primary while its only member is called otherwise; of several, others may have one."""
    log_in(connection, user, file)
    config = connection.run({"replSetGetConfig": 1}).get("config", {})
    members = config.get("members", [])
    names = [one["host"] for one in members]
    # As it starts, MongoDB has not read its configuration yet.
    if not names or member in names:
        return {"ok": 1}
    if len(names) > 1:
        return {"ok": 0, "errmsg": f"it is there, with {', '.join(names)}"}
    config.pop("term", None)
    config["version"] += 1
    config["members"] = [{**members[0], "host": member}]
    if its_id := config.get("settings", {}).get("replicaSetId"):
        config["settings"]["replicaSetId"] = Typed(OBJECT_ID, its_id)
    return connection.run({"replSetReconfig": config, "force": True})


def begin(address: str, port: str, seconds: str, name: str, member: str, oplog: str, user: str, file: str) -> str:
    """Why the set does not accept writes, "" if it does."""
    end = time.monotonic() + int(seconds)
    connection = Connection(address, int(port), int(seconds), from_root=True)
    state = state_of(connection.run({"hello": 1}))
    if state == "alone":
        return "MongoDB runs as a standalone, without replication.replSetName"
    if state == "new":
        command = {"replSetInitiate": {"_id": name, "members": [{"_id": 0, "host": member}]}}
        # The localhost exception: until the first user exists, a local connection may do this.
        # https://www.mongodb.com/docs/manual/core/localhost-exception/
        answer = connection.run(command)
        if answer.get("code") == UNAUTHORIZED and log_in(connection, user, file):
            answer = connection.run(command)
        if answer.get("code") == ALREADY_INITIALIZED:
            answer = move(connection, member, user, file)
        if not answer["ok"]:
            return f"the replica set {name} can't be initiated with {member}: {answer.get('errmsg')}"
    while (hello := connection.run({"hello": 1})) and not hello.get("isWritablePrimary"):
        if time.monotonic() > end:
            return f"the replica set {name} has no primary member after {seconds} s"
        time.sleep(0.1)
    if int(oplog) and log_in(connection, user, file) and oplog_mb(connection) != int(oplog):
        answer = connection.run({"replSetResizeOplog": 1, "size": int(oplog)})
        if not answer["ok"]:
            return f"the oplog can't be resized to {oplog} MiB: {answer.get('errmsg')}"
    return ""


def main(step: str, address: str, port: str, seconds: str, name: str, member: str, oplog: str, *admin: str) -> None:
    user, file = admin
    if step == "look":
        look(address, port, seconds, user, file)
        return
    try:
        problem = begin(address, port, seconds, name, member, oplog, user, file)
    except OSError as error:
        problem = f"MongoDB does not answer: {error}"
    if problem:
        sys.exit(problem)


if __name__ == "__main__":
    main(*sys.argv[1:])
