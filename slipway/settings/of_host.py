"""The checked settings of a pyinfra host."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pyinfra import logger
from pyinfra.api import Host
from pyinfra.api.exceptions import PyinfraError

from slipway.secrets.store import MONGO_URL, MONGODB_BACKEND, how_to_give
from slipway.settings.check import COMMAND_LINE, FILE, SettingsError, check
from slipway.settings.model import Settings

# An attribute of pyinfra's state: the settings that `slipway` has checked before it connected, by the host's name.
CHECKED = "slipway_settings"


def settings_of(
    host: Host, inventory: str = "the inventory", warn: Callable[[str], None] = lambda text: None
) -> Settings:
    """The settings of `host`, from its merged data; `inventory` names its file, `warn` is as of `check`. Raises
    SettingsError."""
    settings = check(host.data.dict(), _origin(host, inventory), warn)
    if problems := apart_problems(settings, host.groups):
        raise SettingsError(f"{inventory} ({host.name}): {problem}" for problem in problems)
    return settings


def apart_problems(settings: Settings, groups: list[str]) -> list[str]:
    """What keeps a backend from a database on another host, and the other way round."""
    if ("app" in groups) == ("db" in groups) or MONGO_URL in settings.backend_secrets:
        return []
    problems = []
    if MONGODB_BACKEND not in settings.secrets:
        problems.append(
            f"found app and db on different hosts and no value for {MONGODB_BACKEND}, expected one, as neither host"
            f" can tell the other: {how_to_give(MONGODB_BACKEND, settings.secrets_file)}"
        )
    if settings.mongodb_bind.startswith("127.") or ("app" in groups and settings.mongodb_bind == "0.0.0.0"):  # noqa: S104
        problems.append(
            f"mongodb_bind: found {settings.mongodb_bind!r} with app and db on different hosts, expected the database's"
            " address that the backend reaches it by"
        )
    return problems


def _origin(host: Host, inventory: str) -> dict[str, str]:
    """In which file each setting of `host` was found, the strongest source last."""
    sources = host.inventory
    origin = dict.fromkeys(sources.get_data(), FILE)
    for group in host.groups:
        origin |= dict.fromkeys(sources.get_group_data(group), f"group_data/{group}.py")
    origin |= dict.fromkeys(sources.get_host_data(host.name), f"{inventory} ({host.name})")
    return origin | dict.fromkeys(sources.get_override_data(), COMMAND_LINE)


@cache
def _log_once(text: str) -> None:
    """Hosts share files of settings, and each is checked."""
    logger.warning(text)


def checked_settings(host: Host) -> Settings:
    """The settings for a deploy file. Raises PyinfraError with all that are wrong.

    `slipway` has checked them before it connected; plain pyinfra gets here after it did, and before any change.
    """
    if checked := getattr(host.state, CHECKED, {}).get(host.name):
        return checked
    try:
        return settings_of(host, warn=_log_once)
    except SettingsError as error:
        raise PyinfraError(f"{host.name}: {error}") from None
