"""Settings of the adoption of a server."""

from pydantic import Field

from slipway.settings.types import PlainLine, Section


class Adoption(Section):
    """Adoption of a server

    A plan refuses a server with something on it that Slipway would not keep, and names it ([adoption.md](adoption.md)).
    """

    adopt_without: list[PlainLine] = Field([])
    """What need not be kept, by the names that a plan gives: `["database old_shop"]`. A backup of the configuration
    stays in `/var/backups/slipway/by-hand`."""
