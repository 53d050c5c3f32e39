"""Settings of the operating system."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field

from slipway.settings.types import Check, Mebibytes, Seconds, Section, matching

# Kernel modules that Slipway keeps from loading (templates/kernel/modprobe.conf).
PROTOCOL_MODULES = ("dccp", "sctp", "rds", "tipc")
DEVICE_MODULES = ("usb-storage", "uas", "firewire-ohci", "firewire-core", "firewire-sbp2")
BLOCKED_MODULES = (*PROTOCOL_MODULES, *DEVICE_MODULES)


def is_timezone(value: str) -> bool:
    if not re.fullmatch(r"[A-Z][\w+-]*(/[\w+-]+)*", value):
        return False
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, OSError):
        # There are none on a machine without time zone data: the host has its own then.
        return not available_timezones()
    return True


class System(Section):
    """Operating system"""

    timezone: Annotated[str, Check(is_timezone, 'a time zone as "Europe/Berlin"')] = "Etc/UTC"
    """Time zone of the server's clock and logs, as in `/usr/share/zoneinfo`."""

    locale: Annotated[str, matching(r"[A-Za-z_]+(\.UTF-8)?", 'a locale as "en_GB.UTF-8"')] = "C.UTF-8"
    """System locale. C.UTF-8 is always available; any other is generated (package `locales`)."""

    swap_mb: Annotated[Mebibytes, Field(ge=0, le=65536)] = 1024
    """Size of `/swapfile`; 0 for none, as ZFS requires. A little swap turns a memory peak into slowness instead of a
    killed database. If it is not set, a swap file that the server has keeps its size."""

    loadable_modules: list[
        Annotated[str, Check(BLOCKED_MODULES.__contains__, f"one of {', '.join(BLOCKED_MODULES)}")]
    ] = Field([])
    """Kernel modules that this server needs of those that Slipway blocks: `["usb-storage", "uas"]` for a disk on
    USB."""

    rp_filter: Annotated[int, Check((1, 2).__contains__, "1 or 2")] = 1
    """The kernel's reverse path filter (`net.ipv4.conf.all.rp_filter`): 1 drops packets whose answer would leave by
    another interface; 2 accepts them, for a server with several default routes."""

    journal_max_mb: Annotated[Mebibytes, Field(ge=16, le=102400)] = 500
    """Maximum size of the journal on disk. If it is not set, a server with a larger journal keeps all of it when it is
    adopted, and gets a larger limit."""

    apt_lock_timeout: Annotated[Seconds, Field(ge=0, le=3600)] = 300
    """How long an apt command waits for another one to finish, such as unattended-upgrades."""

    reboot_time: Annotated[
        str, matching(r"(([01]\d|2[0-3]):[0-5]\d)?", 'a time of day as "04:00", or "" for never')
    ] = "04:00"
    """When the server reboots if a security update requires it (a new kernel), in its own time zone: the next 04:00.
    `""` for never: reboot manually. A user who is logged in at that time postpones it. Of several servers with one time
    each reboots a quarter of an hour after the one before it in the inventory."""

    extra_packages: list[Annotated[str, matching(r"[a-z0-9][a-z0-9.+-]+", "a Debian package's name")]] = Field([])
    """Further Debian packages to install."""
