"""The members of MongoDB's replica set, by the inventory: which they are, and where they listen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slipway.secrets.store import MONGO_URL, MONGODB_ADMIN, MONGODB_BACKEND, how_to_give
from slipway.settings.mongodb import MongoDB
from slipway.settings.peers import Peer

if TYPE_CHECKING:
    from slipway.settings.model import Settings

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Number-of-Voting-Members-of-a-Replica-Set
MAX_VOTING = 7


@dataclass(frozen=True)
class Member:
    """A host with the role db."""

    # In the inventory.
    host: str
    name: str
    port: int
    # Where other hosts reach it, IPv4; "" where neither settings nor inventory say.
    address: str
    # Where the host itself does.
    local: str
    is_here: bool

    @property
    def at(self) -> str:
        """The member in the set's configuration: host:port."""
        return f"{self.name}:{self.port}"


def members_of(settings: Settings) -> list[Member]:
    """The members in the inventory's order; [] where no inventory is known."""
    return [_member(peer) for peer in settings.peers_with("db")]


def without_role(settings: Settings) -> list[Member]:
    """The other hosts, as the members that they may have been."""
    return [_member(peer) for peer in settings.peers if "db" not in peer.roles]


def is_several(settings: Settings) -> bool:
    """Whether the replica set has several members."""
    return len(settings.peers_with("db")) > 1


def listens(settings: Settings) -> list[str]:
    """The addresses that mongod listens on: mongodb_bind, and the host's own for other servers that need it."""
    here = settings.here
    if here and here.address and _is_loopback(settings.mongodb_bind) and clients(settings):
        return [settings.mongodb_bind, here.address]
    return [settings.mongodb_bind]


def local_address(settings: Settings) -> str:
    """The address that this host reaches MongoDB at."""
    if settings.mongodb_bind == EVERYWHERE:
        return LOOPBACK
    here, members = settings.here, members_of(settings)
    if here and "db" not in here.roles and members and _is_loopback(settings.mongodb_bind):
        return members[0].address or settings.mongodb_bind
    return settings.mongodb_bind


def is_on_several_hosts(settings: Settings) -> bool:
    """Whether members, or members and backends, reach each other by the network."""
    its = members_of(settings)
    apps = [] if MONGO_URL in settings.backend_secrets else settings.peers_with("app")
    return bool(its) and (len(its) > 1 or any(peer.name != its[0].host for peer in apps))


def has_certificates(settings: Settings) -> bool:
    """Whether mongod shows a certificate of the servers' own authority."""
    return settings.mongodb_tls != "off" and is_on_several_hosts(settings)


def certificate_names(settings: Settings) -> list[str]:
    """What mongod's certificate on this host is for: how members and backends reach it."""
    (here,) = [one for one in members_of(settings) if one.is_here]
    return [name for name in (here.name, here.address) if name]


def backs_up(settings: Settings) -> bool:
    """Whether backups are this host's: of several members the first one of the inventory makes them."""
    return not is_several(settings) or members_of(settings)[0].is_here


def clients(settings: Settings) -> list[Peer]:
    """The other hosts that connect to MongoDB on this one: further members, and those with a backend."""
    roles = {"db"} if MONGO_URL in settings.backend_secrets else {"db", "app"}
    here = settings.here
    if not here or "db" not in here.roles:
        return []
    return [peer for peer in settings.peers if not peer.is_here and roles & {*peer.roles}]


def names(settings: Settings) -> list[tuple[str, str]]:
    """The name of each member that this host needs, and the address that it leads to."""
    found = members_of(settings)
    if not found:
        return [(settings.mongodb_member, settings.mongodb_local)]
    local = settings.mongodb_local
    return [(one.name, local if one.is_here else one.address or local) for one in found]


def _member(peer: Peer) -> Member:
    bind, is_here = str(_given(peer, "mongodb_bind")), peer.is_here
    address = peer.address if _is_loopback(bind) or bind == EVERYWHERE else bind
    local = LOOPBACK if bind == EVERYWHERE else bind
    return Member(peer.name, str(_given(peer, "mongodb_member")), _given(peer, "mongodb_port"), address, local, is_here)


def _given(peer: Peer, name: str) -> Any:
    return peer.given.get(name, MongoDB.model_fields[name].default)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.")


# --- What is wrong ----------------------------------------------------------------------------------------------------


def apart_problems(settings: Settings, groups: list[str]) -> list[str]:
    """What keeps a host from a database that has other hosts, too, a line each."""
    several = is_several(settings) and "db" in groups
    is_apart = ("app" in groups) != ("db" in groups) and MONGO_URL not in settings.backend_secrets
    if not several and not is_apart:
        return []
    why = "several db hosts" if several else "app and db on different hosts"
    problems = []
    # Of several db hosts it is the set's problem, told once.
    if not is_several(settings) and MONGODB_BACKEND not in settings.secrets:
        problems.append(
            f"found {why} and no value for {MONGODB_BACKEND}, expected one, as neither host can tell the other:"
            f" {how_to_give(MONGODB_BACKEND, settings.secrets_file)}"
        )
    is_wide = "app" in groups and "db" not in groups and settings.mongodb_bind == EVERYWHERE
    by_itself = settings.here and "mongodb_bind" not in settings.model_fields_set
    if is_wide or (_is_loopback(settings.mongodb_bind) and not by_itself):
        problems.append(
            f"mongodb_bind: found {settings.mongodb_bind!r} with {why}, expected the database's"
            " address that the others reach it by, or no such setting: it listens on private_address then, too"
        )
    return problems


def set_problems(settings: Settings) -> list[str]:
    """What is wrong with the hosts of the set together, the same for each of them."""
    its = members_of(settings)
    if not its:
        return []
    problems = [*_problems_of_several(settings, its)] if len(its) > 1 else []
    # With a load balancer, it says so.
    if has_certificates(settings) and not settings.peers_with("lb") and (problem := settings.authority_problem):
        problems.append(f'{problem}; or set mongodb_tls = "off" where nobody else reads the servers\' network')
    if is_on_several_hosts(settings) and _is_loopback(settings.mongodb_bind):
        apps = [] if MONGO_URL in settings.backend_secrets else settings.peers_with("app")
        unknown = {one.host: None for one in its if not one.address}
        unknown |= {peer.name: None for peer in apps if not peer.address}
        problems += [
            f"private_address: found none for {name}, expected the address that the database's other hosts know it by:"
            f' ("{name}", {{"private_address": "10.0.0.{number}"}})'
            for number, name in enumerate(unknown, start=1)
        ]
    return problems


def _problems_of_several(settings: Settings, its: list[Member]) -> Iterator[str]:
    for name in (MONGODB_ADMIN, MONGODB_BACKEND):
        if any(name not in site.secrets for site in settings.all_sites):
            yield (
                f"found {len(its)} db hosts and no value for {name}, expected one, as no host can tell the others:"
                f" {how_to_give(name, settings.secrets_file)}. A server that has generated it keeps it in"
                f" {settings.credentials_folder}"
            )
    of_hosts = [(peer.name, _given(peer, "mongodb_replica_set")) for peer in settings.peers_with("db")]
    if without := [host for host, name in of_hosts if not name]:
        yield (
            f'mongodb_replica_set: found "" on {", ".join(without)} with {len(its)} db hosts, expected a name, as'
            ' "rs0": without a replica set each would have data of its own'
        )
    elif len({name for _, name in of_hosts}) > 1:
        found = ", ".join(f"{name!r} on {host}" for host, name in of_hosts)
        yield f"mongodb_replica_set: found {found}, expected one name: all db hosts are members of one set"
    for name in dict.fromkeys(one.name for one in its):
        same = [one.host for one in its if one.name == name]
        if len(same) > 1:
            taken = {one.name for one in its}
            free = next(f"mongodb-{n}.internal" for n in range(2, 99) if f"mongodb-{n}.internal" not in taken)
            yield (
                f"mongodb_member: found {name!r} for {', '.join(same)}, expected a name of its own for each member:"
                f' ("{same[1]}", {{"mongodb_member": "{free}"}}); or for a server with data of its own another'
                " site_domain"
            )
    if len(its) > MAX_VOTING:
        yield f"db: found {len(its)} hosts, expected at most {MAX_VOTING}: MongoDB has no more voting members"
