"""The other servers of the inventory, as one of them needs to know them: who may connect to it, and where they are.

A host with all of WHOLE and a site_domain of its own is none of them: it is a server of another site, or another
environment's, which only stands in the same inventory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import Host

from slipway.settings.inventory import ROLES
from slipway.settings.renamed import renamed
from slipway.settings.types import is_ipv4

WHOLE = frozenset({"web", "app", "db"})


@dataclass(frozen=True)
class Peer:
    """A host of the inventory with a role, the host itself among them, whether or not the run is limited to others."""

    # In the inventory.
    name: str
    roles: tuple[str, ...]
    # IPv4, "" where neither the settings nor the inventory name one.
    address: str
    # Its settings as the inventory and group_data give them, by their present names, unchecked, without defaults; no
    # secret is among them.
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    # Whether it is the host that knows them.
    is_here: bool = False


def peers_of(host: Host) -> tuple[Peer, ...]:
    """The peers of a host in the order of the inventory, itself among them."""
    there = [one for one in host.inventory if {*one.groups} & {*ROLES}]
    return tuple(_peer(one, one is host) for one in there if one is host or not _are_apart(one, host))


def _are_apart(one: Host, other: Host) -> bool:
    domains = {host.data.dict().get("site_domain") for host in (one, other)}
    return len(domains) == 2 and any({*host.groups} >= WHOLE for host in (one, other))


def _peer(host: Host, is_here: bool) -> Peer:
    given = renamed(host.data.dict(), str).data
    places = (given.get("private_address"), given.get("ssh_hostname"), host.name)
    address = next((str(place) for place in places if place and is_ipv4(str(place))), "")
    return Peer(host.name, tuple(role for role in ROLES if role in host.groups), address, given, is_here)
