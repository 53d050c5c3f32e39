"""The checked settings of a pyinfra host."""

from __future__ import annotations

from pyinfra.api import Host
from pyinfra.api.exceptions import PyinfraError

from slipway.secrets.store import MONGO_URL, MONGODB_BACKEND, how_to_give
from slipway.settings.model import Settings, SettingsError, check


def settings_of(host: Host, inventory: str = "the inventory") -> Settings:
    """The settings of `host`, from its merged data; `inventory` names its file. Raises SettingsError."""
    settings = check(host.data.dict(), _origin(host, inventory))
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
