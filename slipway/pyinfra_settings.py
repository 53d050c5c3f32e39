"""The checked settings of a pyinfra host."""

from __future__ import annotations

from pyinfra.api import Host
from pyinfra.api.exceptions import PyinfraError

from slipway.settings import Settings, SettingsError, check


def settings_of(host: Host) -> Settings:
    """The settings of `host`, from its merged data. Raises PyinfraError with all that are wrong.

    `slipway` has checked them before it connected; plain pyinfra gets here after it did, and before any change.
    """
    try:
        return check(host.data.dict())
    except SettingsError as error:
        raise PyinfraError(f"{host.name}: {error}") from None
