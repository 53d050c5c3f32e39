"""Tries logins to MongoDB by its wire protocol: mongosh takes two seconds to start, this a tenth of one.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT ADDRESS PORT SECONDS USER=FILE...`; USER is a
user of the database admin, or USER@DATABASE. It prints
`server=` away, open (no authentication) or closed, `state=` away or the server's in its replica set (state_of), and for
each user `USER=` the SHA-256 of the password in FILE, "refused", or "" if there is no FILE that only root can read, and
`USER.roles=` the user's roles.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys

from slipway.facts.mongodb_protocol import UNAUTHORIZED, Connection, state_of


def password_in(file: str) -> str:
    """The content of a file that only root can read, "" if there is none."""
    try:
        status = os.lstat(file)
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != 0o600 or status.st_uid or status.st_gid:
            return ""
        with open(file, encoding="utf-8", newline="") as opened:  # noqa: PTH123
            return opened.read()
    except (OSError, UnicodeDecodeError):
        return ""


def main(address: str, port: str, seconds: str, *users: str) -> None:
    try:
        connection = Connection(address, int(port), int(seconds))
        answer, state = connection.run({"getCmdLineOpts": 1}), state_of(connection.run({"hello": 1}))
        print("server=closed" if answer.get("code") == UNAUTHORIZED else "server=open", f"state={state}", sep="\n")
        is_away = False
    except OSError:
        print("server=away", "state=away", sep="\n")
        is_away = True
    for user, file in (argument.split("=", 1) for argument in users):
        password = password_in(file)
        found = hashlib.sha256(password.encode()).hexdigest() if password else ""
        if password and not is_away:
            connection = Connection(address, int(port), int(seconds))
            name, _, database = user.partition("@")
            if connection.logs_in(name, password, database or "admin"):
                roles = connection.run({"connectionStatus": 1})["authInfo"]["authenticatedUserRoles"]
                names = sorted(f"{role['role']}@{role['db']}" for role in roles)
                print(f"{user}.roles={','.join(names)}")
            else:
                found = "refused"
        print(f"{user}={found}")


if __name__ == "__main__":
    main(*sys.argv[1:])
