"""The checked settings of a pyinfra host."""

from __future__ import annotations

from pyinfra.api import Host
from pyinfra.api.exceptions import PyinfraError

from slipway.settings import Settings, SettingsError, check


def settings_of(host: Host, inventory: str = "the inventory") -> Settings:
    """The settings of `host`, from its merged data; `inventory` names its file. Raises SettingsError."""
    return check(host.data.dict(), _origin(host, inventory))


def _origin(host: Host, inventory: str) -> dict[str, str]:
    """In which file each setting of `host` was found, the strongest source last."""
    sources = host.inventory
    origin = dict.fromkeys(sources.get_data(), "group_data/all.py")
    for group in host.groups:
        origin |= dict.fromkeys(sources.get_group_data(group), f"group_data/{group}.py")
    origin |= dict.fromkeys(sources.get_host_data(host.name), f"{inventory} ({host.name})")
    return origin | dict.fromkeys(sources.get_override_data(), "--data")


def checked_settings(host: Host) -> Settings:
    """The settings for a deploy file. Raises PyinfraError with all that are wrong.

    `slipway` has checked them before it connected; plain pyinfra gets here after it did, and before any change.
    """
    try:
        return settings_of(host)
    except SettingsError as error:
        raise PyinfraError(f"{host.name}: {error}") from None
