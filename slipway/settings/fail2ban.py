"""Settings of bans."""

from typing import Annotated

from pydantic import Field

from slipway.settings.firewall import Network
from slipway.settings.types import Section, Unit


class Fail2ban(Section):
    """Bans"""

    fail2ban_ignore: list[Network] = Field([])
    """Addresses and networks that are never banned. Those of `firewall_ssh_from` are never banned from ssh."""

    fail2ban_failures: Annotated[int, Field(ge=3, le=1000), Unit("failures within ten minutes")] = 10
    """How many failed ssh logins ban an address. Three times as many requests that Nginx refuses for their rate ban it,
    too."""

    fail2ban_minutes: Annotated[int, Field(ge=1, le=1440), Unit("minutes")] = 10
    """How long a first ban lasts. Each further ban of the same address lasts longer, up to a day."""
