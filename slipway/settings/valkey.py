"""Settings of Valkey, and what a site's services may name of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.environment import PLACEHOLDERS, Placeholder, Secret, Value
from slipway.settings.types import ALL, Mebibytes, Section

if TYPE_CHECKING:
    from slipway.settings.model import Settings

VALKEY_URL, VALKEY_PASSWORD = "VALKEY_URL", "VALKEY_PASSWORD"


class Valkey(Section):
    """Valkey

    A key-value store in memory, which speaks Redis's protocol, for each site that wants one.
    """

    per_site = ALL

    valkey: bool = False
    """Run Valkey for the site. Its services get `VALKEY_URL`, as in `unix://:PASSWORD@/run/SITE-valkey/valkey.sock?db=0`.
    Where it is switched off again, it is stopped, and its data stay on the server."""

    valkey_memory_mb: Annotated[Mebibytes, Field(ge=16, le=2**20)] = 64
    """Memory limit of the data. Valkey itself is killed and restarted above twice as much: while it saves, it may hold
    a second copy."""

    valkey_eviction: Literal[
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] = "volatile-lru"
    """Which keys go when the data reach the limit: `"volatile-..."` removes only keys that have an expiry, so a queue
    stays beside a cache; `"allkeys-..."` any. With `"noeviction"`, or if there is none to remove, writes fail
    ([policies](https://valkey.io/topics/lru-cache/))."""

    @field_validator("valkey")
    @classmethod
    def _no_service_of_this_name(cls, value: bool, info: ValidationInfo) -> bool:
        if value and any(service.name == "valkey" for service in info.data.get("services", [])):
            raise ValueError("False, or no service named 'valkey': both would have the unit SITE-valkey.service")
        return value


def socket_of(settings: Settings) -> str:
    """The unix socket of a site's Valkey."""
    return f"/run/{settings.site_name}-valkey/valkey.sock"


def _url(settings: Settings) -> Value:
    """As redis-py and valkey-py read it."""
    if VALKEY_URL in settings.backend_secrets:
        return (Secret(VALKEY_URL),)
    return ("unix://:", Secret(VALKEY_PASSWORD, in_url=True), f"@{socket_of(settings)}?db=0")


def _missing(settings: Settings) -> str:
    return "" if settings.valkey or VALKEY_URL in settings.backend_secrets else "valkey is False"


def _celery_url(settings: Settings) -> Value:
    """As Celery reads it, for its broker and its results."""
    return ("redis+socket://:", Secret(VALKEY_PASSWORD, in_url=True), f"@{socket_of(settings)}?virtual_host=0")


def _missing_here(settings: Settings) -> str:
    return "" if settings.valkey else "valkey is False"


PLACEHOLDERS["valkey_celery_url"] = Placeholder(_celery_url, _missing_here)
PLACEHOLDERS["valkey_url"] = Placeholder(_url, _missing, variable=VALKEY_URL)
