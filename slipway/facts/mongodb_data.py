"""The content of a MongoDB that Slipway did not set up, to compare it before and after a restart.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT ADDRESS PORT SECONDS look|hash|lock [USER
FILE]`. ADDRESS may be a Unix socket's path.

look    prints the server's state as a Python dictionary: `state` "away", "closed" (authentication required), "open",
        or else the error; `set` and `members` of a replica set; and of an open one `options` (the effective ones),
        `version`, `documents` by database, `users` (those of other databases than admin as USER@DATABASE). Of a closed
        one the same if USER can log in, by the password on standard input (base64) or by that in FILE, which only root
        can read; `login` says whether: "accepted", the error, or "" without a password; `has_users` whether there is a
        user at all.
hash    prints a line for each collection: its name, its number of documents and, up to MAX_HASHED_BYTES in all, its
        dbHash. Of the server's own collections, which no user may read, only the hash.
lock    blocks writes, then does the same, as USER if one is given; the server is stopped next.
"""

from __future__ import annotations

import binascii
import os
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


def passwords(file: str) -> list[str]:
    """Those to try: what standard input has, and what FILE has."""
    found = [binascii.a2b_base64(sys.stdin.read()).decode()]
    if os.path.isfile(file) and not os.stat(file).st_mode & 0o077:  # noqa: PTH113, PTH116
        with open(file, encoding="utf-8", newline="") as opened:  # noqa: PTH123
            found.append(opened.read())
    return [password for password in found if password]


def logged_in(where: tuple[str, int, int], user: str, tried: list[str]) -> Connection | None:
    """A connection with this user's rights, by the first password that MongoDB accepts."""
    for password in tried:
        connection = Connection(*where)
        if connection.logs_in(user, password):
            return connection
    return None


def look(where: tuple[str, int, int], user: str = "", file: str = "") -> dict[str, Any]:
    connection = Connection(*where)
    # A login is not needed for it.
    hello = connection.run({"hello": 1})
    names = [name for kind in ("hosts", "passives", "arbiters") for name in hello.get(kind, [])]
    found = {"state": "open", "set": hello.get("setName", ""), "members": names}
    if connection.run({"getCmdLineOpts": 1}).get("code") != UNAUTHORIZED:
        return found | content(connection)
    # Who may create one where there is none yet is told first that this one has no name.
    # https://www.mongodb.com/docs/manual/core/localhost-exception/
    refused = connection.run({"createUser": "", "pwd": "unused", "roles": []})
    found |= {"state": "closed", "login": "", "has_users": refused.get("code") == UNAUTHORIZED}
    if not user or not (tried := passwords(file)):
        return found
    if not (known := logged_in(where, user, tried)):
        return found | {"login": "refused"}
    try:
        return found | content(known) | {"login": "accepted"}
    except OSError as error:
        return found | {"login": str(error)}


def content(connection: Connection) -> dict[str, Any]:
    users = asked(connection, {"usersInfo": {"forAllDBs": True}})["users"]
    found = {
        "options": asked(connection, {"getCmdLineOpts": 1})["parsed"],
        "version": asked(connection, {"buildInfo": 1})["version"],
        "documents": {
            database["name"]: int(asked(connection, {"dbStats": 1}, database["name"])["objects"])
            for database in databases(connection)
            if database["name"] != "admin"
        },
        "users": [one["user"] if one["db"] == "admin" else f"{one['user']}@{one['db']}" for one in users],
    }
    # Hidden members too.
    config = connection.run({"replSetGetConfig": 1}).get("config", {})
    return found | ({"members": [one["host"] for one in config["members"]]} if config else {})


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
                is_own = name.startswith("system.") and not name.startswith("system.buckets.")
                number = "" if is_own else int(asked(connection, {"count": name}, database)["n"])
                lines.append(f"{database}.{name} {number} {digests.get(name, '')}".rstrip())
    return sorted(lines)


def main(address: str, port: str, seconds: str, step: str, *login: str) -> None:
    where = (address, int(port), int(seconds))
    try:
        connection = Connection(*where)
    except OSError:
        print({"state": "away"})
        return
    if step == "look":
        try:
            print(look(where, *login))
        except OSError as error:
            print({"state": str(error)})
        return
    if step == "lock":
        if login:
            known = logged_in(where, login[0], passwords(login[1]))
            connection = known or sys.exit(f"MongoDB rejects the password of {login[0]}")
        asked(connection, {"fsync": 1, "lock": True})
    print("\n".join(hashes(connection)))


if __name__ == "__main__":
    main(*sys.argv[1:])
