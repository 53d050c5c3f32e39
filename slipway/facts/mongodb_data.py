"""The content of a MongoDB that Slipway did not set up, to compare it before and after a restart.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT ADDRESS PORT SECONDS look|hash|lock`. ADDRESS
may be a Unix socket's path.

look    prints the server's state as a Python dictionary: `state` "away", "closed" (authentication required), "open",
        or else the error; and of an open one `options` (the effective ones), `version`, `documents` by database,
        `users` of the database admin, `set` and `members` of a replica set.
hash    prints a line for each collection: its name, its number of documents and, up to MAX_HASHED_BYTES in all, its
        dbHash.
lock    blocks writes, then does the same; the server is stopped next.
"""

from __future__ import annotations

import sys

from slipway.facts.mongodb_protocol import UNAUTHORIZED, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Databases that the server itself writes.
INTERNAL = ("config", "local")
# dbHash reads all documents and blocks writes meanwhile.
MAX_HASHED_BYTES = 2**30


def asked(connection: Connection, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
    """The answer. Raises OSError if the command fails."""
    answer = connection.run(command, database)
    if not answer["ok"]:
        raise OSError(answer["errmsg"])
    return answer


def databases(connection: Connection) -> list[dict[str, Any]]:
    found = asked(connection, {"listDatabases": 1})["databases"]
    return [database for database in found if database["name"] not in INTERNAL]


def look(connection: Connection) -> dict[str, Any]:
    options = connection.run({"getCmdLineOpts": 1})
    if options.get("code") == UNAUTHORIZED:
        return {"state": "closed"}
    hello = asked(connection, {"hello": 1})
    return {
        "state": "open",
        "options": options["parsed"],
        "version": asked(connection, {"buildInfo": 1})["version"],
        "documents": {
            database["name"]: int(asked(connection, {"dbStats": 1}, database["name"])["objects"])
            for database in databases(connection)
            if database["name"] != "admin"
        },
        "users": [user["user"] for user in asked(connection, {"usersInfo": 1})["users"]],
        "set": hello.get("setName", ""),
        "members": hello.get("hosts", []),
    }


def hashes(connection: Connection) -> list[str]:
    found = databases(connection)
    is_hashed = sum(database["sizeOnDisk"] for database in found) <= MAX_HASHED_BYTES
    lines = []
    for database in (database["name"] for database in found):
        listed = asked(connection, {"listCollections": 1, "nameOnly": True, "cursor": {"batchSize": 10**6}}, database)
        digests = asked(connection, {"dbHash": 1}, database)["collections"] if is_hashed else {}
        for collection in listed["cursor"]["firstBatch"]:
            if collection["type"] == "collection":
                name = collection["name"]
                number = int(asked(connection, {"count": name}, database)["n"])
                lines.append(f"{database}.{name} {number} {digests.get(name, '')}".rstrip())
    return sorted(lines)


def main(address: str, port: str, seconds: str, step: str) -> None:
    try:
        connection = Connection(address, int(port), int(seconds))
    except OSError:
        print({"state": "away"})
        return
    if step == "look":
        try:
            print(look(connection))
        except OSError as error:
            print({"state": str(error)})
        return
    if step == "lock":
        asked(connection, {"fsync": 1, "lock": True})
    print("\n".join(hashes(connection)))


if __name__ == "__main__":
    main(*sys.argv[1:])
