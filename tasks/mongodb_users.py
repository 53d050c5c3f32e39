"""MongoDB's two users: an administrator, and the backend's, with read and write access to its own database only.

The backend's user exists in the database admin and in its own, with the same password: without an authSource, a client
authenticates against the database that the URL names.
https://www.mongodb.com/docs/manual/reference/connection-string-options/#mongodb-urioption-urioption.authSource

Their passwords are secrets: provided, or generated on this host, where they stay. mongosh reads them from files that
only root can read; no command line, log or plan contains one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.uploads import with_input
from slipway.facts.files import FileStates
from slipway.facts.mongodb import MongodbUsers
from slipway.ops.commands import Commands
from slipway.ops.files import directory, is_in_place, tar, write_script
from slipway.ops.templates import render
from slipway.secrets.store import MONGODB_ADMIN, MONGODB_BACKEND
from slipway.settings.members import is_several
from slipway.settings.model import Settings
from slipway.tasks.credentials import READ_OTHERWISE

ADMIN_DATABASE = "admin"


@dataclass(frozen=True)
class User:
    """`secret` names the password, `roles` are MongoDB's, `database` is the user's authentication database."""

    name: str
    secret: str
    roles: list[dict[str, str]]
    database: str = ADMIN_DATABASE

    @property
    def key(self) -> str:
        """The user as facts.MongodbUsers names it."""
        return self.name if self.database == ADMIN_DATABASE else f"{self.name}@{self.database}"

    @property
    def rights(self) -> str:
        """The roles as facts.MongodbUsers returns them."""
        return ",".join(sorted(f"{role['role']}@{role['db']}" for role in self.roles))


def admin_of(settings: Settings) -> User:
    return User(settings.mongodb_admin_user, MONGODB_ADMIN, [{"role": "root", "db": "admin"}])


def backend_of(settings: Settings) -> User:
    roles = [{"role": "readWrite", "db": settings.mongodb_database}]
    return User(settings.mongodb_backend_user, MONGODB_BACKEND, roles)


def in_own_database(settings: Settings) -> User:
    """The backend's user in its own database."""
    return replace(backend_of(settings), database=settings.mongodb_database)


def users_of(settings: Settings) -> list[User]:
    return [admin_of(settings), backend_of(settings), in_own_database(settings)]


def mongodb_users(settings: Settings, stays_open: bool = False) -> None:
    for site in settings.all_sites:
        users(name="Create MongoDB's users", settings=site, stays_open=stays_open)


def differences(
    found: Mapping[str, str], settings: Settings, wanted: list[User], stays_open: bool = False
) -> list[str]:
    """Descriptions of the changes; `found` is facts.MongodbUsers."""
    given = settings.secrets
    is_open = found.get("server") == "open" and not stays_open
    lines = ["MongoDB accepts connections without a password"] if is_open else []
    for user in wanted:
        has = found.get(user.key, "")
        if user.database != ADMIN_DATABASE:
            # The same user in admin covers a wrong password.
            is_well = has != "refused" and found.get(f"{user.key}.roles") == user.rights
            if has and found["server"] != "away" and not is_well and found.get(user.name) != "refused":
                lines.append(f"user {user.name}: not in {user.database}, or with another password or other rights")
        elif not has:
            lines.append(f"user {user.name}: its password is missing on the host, or readable by others")
        elif has == "refused":
            lines.append(f"user {user.name}: MongoDB rejects its password")
        elif user.secret in given and has != hashlib.sha256(given[user.secret].encode()).hexdigest():
            reason = READ_OTHERWISE if settings.is_read_otherwise(user.secret, has) else ""
            lines.append(f"user {user.name}: its password changes (secret, not shown){reason}")
        elif found["server"] != "away" and found.get(f"{user.name}.roles") != user.rights:
            lines.append(f"user {user.name}: {found.get(f'{user.name}.roles') or 'no rights'} -> {user.rights}")
    return lines


def found_users(settings: Settings, wanted: list[User]) -> dict[str, str]:
    """facts.MongodbUsers of the `wanted` users."""
    folders = {MONGODB_ADMIN: settings.admin_credentials_folder, MONGODB_BACKEND: settings.credentials_folder}
    files = tuple((user.key, f"{folders[user.secret]}/{user.secret}") for user in wanted)
    found: dict[str, str] = host.get_fact(
        MongodbUsers,
        address=settings.mongodb_local,
        port=settings.mongodb_port,
        users=files,
        seconds=settings.limits.mongodb_answer,
    )
    return found


@operation()
def users(settings: Settings, stays_open: bool = False) -> Commands:
    """Make sure that both users exist with their passwords and roles, and that authentication is required, unless the
    server `stays_open` for now: then a user of the same name in the site's database is the running backend's."""
    wanted = users_of(settings)[: 2 if stays_open else None]
    found = found_users(settings, wanted)
    # Those of a replica set are its primary's to write.
    if is_several(settings) and found.get("state") in ("secondary", "waiting"):
        return
    lines = differences(found, settings, wanted, stays_open)
    if not lines:
        return
    notes.note("\n".join(lines))
    if found.get("server") == "open" and not stays_open:
        # The configuration file is in place: the running process has not read it.
        yield "systemctl restart mongod"
    yield with_input(set_users(settings), tar(documents(settings, wanted)))


def passwords_of_member(settings: Settings) -> None:
    """The passwords on a host whose users come from another one: given ones, as each host has the same."""
    for site in settings.all_sites:
        for folder in dict.fromkeys([site.admin_credentials_folder, site.credentials_folder]):
            directory(name="Create the secrets' folder", path=folder, mode="700")
        passwords(name="Install MongoDB's passwords", settings=site)


@operation()
def passwords(settings: Settings) -> Commands:
    """Make sure that the passwords of MongoDB's users are on a member that is not the primary: there `users` does."""
    if found_users(settings, users_of(settings)).get("state") == "primary":
        return
    folders = {MONGODB_ADMIN: settings.admin_credentials_folder, MONGODB_BACKEND: settings.credentials_folder}
    wanted = {f"{folder}/{name}": settings.secrets[name].encode() for name, folder in folders.items()}
    states, commands = host.get_fact(FileStates, paths=tuple(wanted)), []
    for path, value in wanted.items():
        if not is_in_place(states.get(path, {}), value, "600", "root", "root"):
            notes.note(f"{path}: {'contents or mode change' if states.get(path) else 'new'} (secret, not shown)")
            commands.append(with_input(write_script(path, "600", "root", "root", check=None), value))
    yield from commands


def set_users(settings: Settings) -> str:
    """The shell script that creates MongoDB's users; its standard input is a tar of `documents`."""
    return render("mongodb/set-users", **_values(settings))


def documents(settings: Settings, wanted: list[User] | None = None) -> dict[str, str]:
    """The files that `set_users` needs, by name: a mongosh script that creates the `wanted` users, all by default, and
    the provided passwords."""
    given = {name: settings.secrets[name] for name in (MONGODB_ADMIN, MONGODB_BACKEND) if name in settings.secrets}
    backends = (wanted or users_of(settings))[1:]
    return {"users.js": render("mongodb/users.js", **_values(settings), backends=backends), **given}


def _values(settings: Settings) -> dict[str, object]:
    return {
        "admin": admin_of(settings),
        "backend": backend_of(settings),
        "admin_folder": settings.admin_credentials_folder,
        "folder": settings.credentials_folder,
        "address": settings.mongodb_local,
        "port": settings.mongodb_port,
        "seconds": settings.limits.mongosh,
        "mongod": alone(settings),
        "several": is_several(settings),
    }


def alone(settings: Settings) -> str:
    """The command of a private mongod with the site's data: with the options for its data layout, without a replica set
    and authentication."""
    flags = {"storage.directoryPerDB": "--directoryperdb"}
    flags["storage.wiredTiger.engineConfig.directoryForIndexes"] = "--wiredTigerDirectoryForIndexes"
    given = [flag for option, flag in flags.items() if settings.mongodb_settings.get(option)]
    return " ".join(["mongod --dbpath", settings.mongodb_data, *given])
