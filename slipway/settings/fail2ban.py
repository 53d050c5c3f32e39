"""Settings of bans."""

import re
from typing import Annotated

from pydantic import Field

from slipway.settings.firewall import is_network
from slipway.settings.types import DOMAIN, Check, Section, Unit


def is_spared(value: str) -> bool:
    return is_network(value) or re.fullmatch(DOMAIN, value) is not None


Spared = Annotated[str, Check(is_spared, 'an address or network as "203.0.113.0/24", or a host name in lower case')]


class Fail2ban(Section):
    """Bans"""

    fail2ban_ignore: list[Spared] = Field([])
    """Addresses, networks and host names that are never banned from ssh and the sites. Those of `firewall_ssh_from` are
    never banned from ssh. Other jails have their own `ignoreip`."""

    fail2ban_failures: Annotated[int, Field(ge=3, le=1000), Unit("failures within ten minutes")] = 10
    """How many failed ssh logins ban an address. Three times as many requests that Nginx refuses for their rate ban it,
    too."""

    fail2ban_minutes: Annotated[int, Field(ge=1, le=1440), Unit("minutes")] = 10
    """How long a first ban lasts. Each further ban of the same address lasts longer, up to a day."""
