"""Settings of the network between several servers."""

from typing import Annotated

from slipway.settings.types import Check, Section, is_ipv4


def is_address_or_none(value: str) -> bool:
    return value == "" or is_ipv4(value)


class Network(Section):
    """Network between servers"""

    private_address: Annotated[str, Check(is_address_or_none, 'an IPv4 address, or "" for that of the connection')] = ""
    """The address that the inventory's other servers reach this one by: in the provider's private network if it has
    one. `""` for the address of the connection, where the inventory or `ssh_hostname` has one in place of a name."""
