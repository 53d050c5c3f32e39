"""The checked settings of a pyinfra host."""

from __future__ import annotations

import inspect
import posixpath
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api import Host, Inventory, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_state

from slipway import project
from slipway.secrets.committed import env_files
from slipway.settings import balancing, inventory, members
from slipway.settings.check import COMMAND_LINE, FILE, SettingsError, check
from slipway.settings.model import Settings
from slipway.settings.peers import peers_of

# An attribute of pyinfra's state: the settings that were checked before the connection, by the host's name.
CHECKED = "slipway_settings"
# Another: the warnings that plain pyinfra has logged.
LOGGED = "slipway_logged"


def settings_of(
    host: Host, inventory: str = "the inventory", warn: Callable[[str], None] = lambda text: None
) -> Settings:
    """The settings of `host`, from its merged data; `inventory` names its file, `warn` is as of `check`. What
    `committed_warnings` finds is not among them. Raises SettingsError."""
    settings = check(host.data.dict(), _origin(host, inventory), warn)
    settings._peers = peers_of(host)
    # Those of a further site know none of them yet.
    settings.__dict__.pop("all_sites", None)
    own = [*members.apart_problems(settings, host.groups), *balancing.problems(settings)]
    own += shared_repositories(settings, host)
    problems = [f"{inventory} ({host.name}): {problem}" for problem in own]
    # The same lines for each host.
    problems += [f"{inventory}: {problem}" for problem in members.set_problems(settings)]
    if problems:
        raise SettingsError(problems)
    return settings


def shared_repositories(settings: Settings, host: Host) -> list[str]:
    """A line for each repository that another set's host has, too: a restore would take the newest data of either."""
    # One of the command line is for the hosts of the run alone.
    if "backup_repositories" in host.inventory.get_override_data():
        return []
    peers = {host.name, *(peer.name for peer in settings.peers)}
    others = [one for one in host.inventory if "db" in one.groups and one.name not in peers]
    places = {one.name: one.data.dict().get("backup_repositories") for one in others if "db" in host.groups}
    return [
        f"backup_repositories: found {place} of {other} here, too, need another place: their backups would be one"
        f" another's. Set it for each: in the inventory, or in group_data of a group of its own"
        for other, its in places.items()
        for place in settings.backup_repositories.values()
        if isinstance(its, dict) and place in its.values() and not place.startswith("/")
    ]


def data_folders(settings: Settings, groups: Sequence[str]) -> list[str]:
    """The folders with the data of a host of these groups: each may be on a file system of its own."""
    folders = [settings.mongodb_data] if "db" in groups else []
    folders += [site.site_root for site in settings.all_sites]
    folders += [place for place in settings.backup_repositories.values() if place.startswith("/")]
    return list(dict.fromkeys([*folders, *settings.backup_paths]))


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

    They have been checked before the connection, unless plain pyinfra has an inventory without
    `check_before_connecting`; nothing has changed until here.
    """
    if checked := getattr(host.state, CHECKED, {}).get(host.name):
        return checked
    return _checked([host])[host.name]


def check_before_connecting() -> None:
    """Called by an inventory: let plain pyinfra check it, and the settings of all hosts of the run, before it connects
    to any.

    Its commands have no hook between the inventory, whose data are read later, and the connections; the stage that they
    tell the run's state is the last thing before these. `slipway` has checked the settings by then.
    """
    if not ctx_state.isset():
        return
    state = ctx_state.get()
    init, set_stage = state.init, state.set_stage
    names = _names_of_inventory()

    def init_or_say(found: Inventory, *given: Any, **named: Any) -> None:
        try:
            init(found, *given, **named)
        except Exception:
            if problems := _inventory_problems(found, names, state.cwd):
                raise PyinfraError(inventory.report(problems)) from None
            raise

    def check_and_set_stage(stage: StateStage) -> None:
        if stage is StateStage.Connect and not hasattr(state, CHECKED):
            problems = _inventory_problems(state.inventory, names, state.cwd)
            hosts = [host for host in state.inventory if state.is_host_in_limit(host)]
            try:
                found = _checked(hosts)
            except PyinfraError as error:
                raise PyinfraError(
                    "\n".join([*([inventory.report(problems)] if problems else []), str(error)])
                ) from None
            if problems:
                raise PyinfraError(inventory.report(problems))
            setattr(state, CHECKED, found)
        set_stage(stage)

    state.init, state.set_stage = init_or_say, check_and_set_stage


def _names_of_inventory() -> Mapping[str, Any]:
    """The top-level names of the inventory that pyinfra executes, which has more of them at its end; none where it is
    another program that executes it."""
    frame = inspect.currentframe()
    while frame and frame.f_back and frame.f_back.f_code.co_name != "exec_file":
        frame = frame.f_back
    return frame.f_globals if frame and frame.f_back else {}


def _inventory_problems(hosts: Inventory, names: Mapping[str, Any], folder: str | None) -> list[str]:
    """What is wrong with the inventory of plain pyinfra, of which it ignores much."""
    file = project.shown(names.get("__file__", "inventory.py"))
    found = inventory.problems(names) if names else []
    # What is misspelt has no hosts.
    found = found or inventory.role_problems({host.name: host.groups for host in hosts})
    lines = [f"{file}: {problem}" for problem in found]
    return [*lines, *inventory.group_data_problems(Path(folder or "."), [*names, *hosts.groups])]


def _checked(hosts: Sequence[Host]) -> dict[str, Settings]:
    """The settings of hosts by name. Raises PyinfraError with all that are wrong."""
    found: dict[str, Settings] = {}
    problems: list[str] = []
    for host in hosts:
        warn = _log_once(host.state)
        try:
            found[host.name] = settings_of(host, warn=warn)
        except SettingsError as error:
            problems += error.problems
            continue
        for line in committed_warnings(found[host.name]):
            warn(line)
    if problems:
        raise PyinfraError(str(SettingsError(problems)))
    return found
