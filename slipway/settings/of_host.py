"""The checked settings of a pyinfra host."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable

from pyinfra import logger
from pyinfra.api import Host, State
from pyinfra.api.exceptions import PyinfraError

from slipway import project
from slipway.secrets.committed import env_files
from slipway.secrets.store import MONGO_URL, MONGODB_BACKEND, how_to_give
from slipway.settings.check import COMMAND_LINE, FILE, SettingsError, check
from slipway.settings.model import Settings

# An attribute of pyinfra's state: the settings that `slipway` has checked before it connected, by the host's name.
CHECKED = "slipway_settings"
# Another: the warnings that plain pyinfra has logged.
LOGGED = "slipway_logged"


def settings_of(
    host: Host, inventory: str = "the inventory", warn: Callable[[str], None] = lambda text: None
) -> Settings:
    """The settings of `host`, from its merged data; `inventory` names its file, `warn` is as of `check`. What
    `committed_warnings` finds is not among them. Raises SettingsError."""
    settings = check(host.data.dict(), _origin(host, inventory), warn)
    if problems := apart_problems(settings, host.groups):
        raise SettingsError(f"{inventory} ({host.name}): {problem}" for problem in problems)
    return settings


def committed_warnings(settings: Settings) -> list[str]:
    """A line for each source of a backend whose secrets are in git."""
    found = {site.backend_source: env_files(project.path(site.backend_source)) for site in settings.all_sites}
    return [
        f"backend_source = {source!r}: found {', '.join(files)} in git, where everybody has its secrets: replace them"
        f" where they are from, git rm --cached {_paths(source, files)}, slipway secrets import; no release has"
        " this file"
        for source, files in found.items()
        if files
    ]


def _paths(source: str, files: list[str]) -> str:
    """The files of a folder as a shell's arguments, from where the project is."""
    return shlex.join(posixpath.join(source, file) for file in files)


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


def _log_once(state: State) -> Callable[[str], None]:
    """Logs a line once a run: hosts share files of settings, and each is checked."""
    logged: set[str] = vars(state).setdefault(LOGGED, set())

    def log(text: str) -> None:
        if text not in logged:
            logged.add(text)
            logger.warning(text)

    return log


def checked_settings(host: Host) -> Settings:
    """The settings for a deploy file. Raises PyinfraError with all that are wrong.

    `slipway` has checked them before it connected; plain pyinfra gets here after it did, and before any change.
    """
    if checked := getattr(host.state, CHECKED, {}).get(host.name):
        return checked
    warn = _log_once(host.state)
    try:
        settings = settings_of(host, warn=warn)
    except SettingsError as error:
        raise PyinfraError(f"{host.name}: {error}") from None
    for line in committed_warnings(settings):
        warn(line)
    return settings
