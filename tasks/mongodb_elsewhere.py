"""MongoDB's data on a server that is not in `db`, while the servers in `db` have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pyinfra import host

from slipway.adoption import Obstacle, in_the_way
from slipway.engine import across
from slipway.facts.base import Output
from slipway.secrets.store import MONGO_URL
from slipway.settings.members import Member, members_of, without_role
from slipway.settings.model import Settings
from slipway.tasks.mongodb_members import look_of


def problems(settings: Settings) -> list[str]:
    """What would give the site an empty database in place of its own, told by the first db host of the run."""
    others = [] if MONGO_URL in settings.backend_secrets else without_role(settings)
    members = members_of(settings)
    reached = across.of_run(host, [one.host for one in members]) if others else []
    if host not in reached[:1] or any(_data(settings, members).values()):
        return []
    found = _data(settings, others)
    return in_the_way(obstacles(members, found), settings.adopt_without)


def obstacles(members: Sequence[Member], found: Mapping[str, str]) -> Iterator[Obstacle]:
    """`found` says of each other server what data it has."""
    names = ", ".join(one.host for one in members)
    for name, data in found.items():
        if data:
            yield Obstacle(
                f"MongoDB's data on {name}",
                f"{data}, and none on {names}: the site would begin with an empty database",
                f"{name} in db beside them: they get its data, and then it leaves (scale.md, MongoDB on servers of its"
                " own)",
            )


def _data(settings: Settings, ones: Sequence[Member]) -> dict[str, str]:
    """What data each server has that the run reaches, "" for none."""
    its = {one.host: one for one in ones}
    looks = across.facts(host, its, lambda one: look_of(settings, its[one.name]))
    # The folder of a mongod that Slipway did not configure is in its own file.
    folders = f"$(sed -n 's/^ *dbPath: *//p' /etc/mongod.conf | tr -d '\"') {settings.mongodb_data}"
    script = f"for folder in {folders}; do [ ! -e $folder/WiredTiger ] || echo $folder; done"
    files = across.facts(host, its, lambda _: (Output, {"command": script}))
    return {name: data_of(look, files.get(name, "")) for name, look in looks.items()}


def data_of(look: Mapping[str, str], folders: str) -> str:
    """The data of one server, by facts.MongodbMember and the folders that have any; "" for none."""
    if count := look.get("collections"):
        return f"{count} collections" if count != "0" else ""
    # MongoDB is stopped, or tells nothing without a password.
    return next(iter(folders.split()), "")
