"""Settings of the firewall."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import Field

from slipway.settings.types import Check, Section


def is_network(value: str) -> bool:
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


def is_open_port(value: str) -> bool:
    port, _, protocol = value.partition("/")
    return port.isdigit() and 1 <= int(port) <= 65535 and protocol in ("tcp", "udp")


Network = Annotated[str, Check(is_network, 'an IPv4 or IPv6 address or network as "203.0.113.0/24" or "2001:db8::/32"')]


class Firewall(Section):
    """Firewall"""

    firewall_allow: list[Annotated[str, Check(is_open_port, 'port/protocol as "8443/tcp"')]] = Field([])
    """Ports that are open besides ssh, 80 and 443. Every other rule is removed."""

    firewall_ssh_from: list[Network] = Field([])
    """Addresses and networks that may connect to ssh; `[]` for all."""
