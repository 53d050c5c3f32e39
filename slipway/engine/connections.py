"""The hosts of a run: which they are, their settings, and their connections."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar, cast

import gevent

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import pyinfra
from pyinfra.api import Config, FactBase, State
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage
from pyinfra.connectors.ssh import SSHConnector

from slipway import pin, project
from slipway.engine import login, query_cache, run
from slipway.engine.connector import Connector, HostFailed
from slipway.engine.errors import CollectedLog, RunFailed, failing, hints_for, in_words
from slipway.engine.preload import preload
from slipway.engine.remote_shell import Answer, Question
from slipway.engine.run import Run
from slipway.project import INVENTORIES
from slipway.settings import inventory
from slipway.settings.check import FILE, SettingsError, parse_items
from slipway.settings.inventory import ROLES
from slipway.settings.model import Settings
from slipway.settings.of_host import CHECKED, committed_warnings, settings_of

# The command line shows progress; pyinfra's own line would be written over it.
os.environ["PYINFRA_PROGRESS"] = "off"
# How long ssh's own programs may take to tell the way to a host, until we do something else meanwhile.
BEGIN_SECONDS = 0.2
T = TypeVar("T")


class Connections:
    """The hosts of an environment, and one connection to each within a `with` block."""

    def __init__(self, environment: str, deploy: str, limit: Iterable[str], items: Iterable[str], current: Run) -> None:
        """`deploy` is the file that the hosts are asked for, `items` are NAME=VALUE settings that win over all others.
        Raises SettingsError, RunFailed."""
        self.environment, self.deploy = environment, deploy
        self.limit = tuple(limit)
        self.run = current
        self.project = project.folder()
        self.inventory_file = project.shown(str(self.project / INVENTORIES[environment]))
        # What is left out of what was asked for, and why: host, text.
        self.skipped: list[tuple[str, str]] = []
        # Settings with old names, a line each.
        self._warnings: list[str] = []
        # What happened to hosts that were left out from then on, by name.
        self.failures: dict[str, str] = {}
        self._connecting: dict[Host, gevent.Greenlet] = {}
        self._recalling: list[gevent.Greenlet] = []
        self.log = CollectedLog()
        # An error of a greenlet reaches us where it is waited for; gevent would print its traceback as well.
        gevent.get_hub().exception_stream = None
        self._data, self._malformed = parse_items(items)
        self._load()

    def _load(self) -> None:
        inventory_file = self.project / INVENTORIES[self.environment]
        # pyinfra takes a missing file for a host's name, and a missing group_data/all.py for one without settings.
        # Some verbs, such as `slipway releases`, have no deploy file.
        for name in (INVENTORIES[self.environment], FILE, self.deploy):
            if name and not (self.project / name).is_file():
                raise RunFailed(f"{name}: found no such file in {self.project}; restore it (git checkout {name})")
        if str(self.project) not in sys.path:
            sys.path.append(str(self.project))
        pyinfra_compat.prepare()
        pyinfra.is_cli = True  # orders operations by the lines of the deploy file, as pyinfra's own command does
        self.state = State(check_for_changes=False)  # a plan does it, for all operations at once
        self.state.cwd = str(self.project)
        run.start(self.state, self.run)
        pyinfra_compat.ctx_state.set(self.state)
        config = Config()
        pyinfra_compat.ctx_config.set(config)
        config.lock_current_state()
        with failing(self.log), in_words():
            self.inventory = pyinfra_compat.load_inventory(
                str(inventory_file), self._data, str(self.project), self._check_inventory
            )
        pyinfra_compat.ctx_inventory.set(self.inventory)
        for host in self.inventory:
            if host.connector_cls is SSHConnector:
                host.connector_cls = Connector
        of_groups = self._problems_of_groups()
        try:
            self.settings = self._check_settings()
        except (SettingsError, RunFailed) as error:
            if of_groups:
                raise RunFailed(f"{inventory.report(of_groups)}\n{error}") from None
            raise
        if of_groups:
            raise RunFailed(inventory.report(of_groups))
        setattr(self.state, CHECKED, self.settings)
        with failing(self.log):
            self.state.init(self.inventory, config, initial_limit=self._limited())

    def _check_inventory(self, names: dict[str, Any]) -> None:
        """Raises RunFailed with everything that is wrong with the top-level names of the inventory."""
        self._names = [*names]
        if problems := inventory.problems(names):
            raise RunFailed(inventory.report(self._in_inventory(problems, names)))

    def _problems_of_groups(self) -> list[str]:
        """A line where there is no host, one has nothing to do, or group data are for none."""
        groups = {host.name: host.groups for host in self.inventory}
        return self._in_inventory(inventory.role_problems(groups), [*self._names, *self.inventory.groups])

    def _in_inventory(self, problems: Iterable[str], groups: Iterable[str]) -> list[str]:
        lines = [f"{self.inventory_file}: {problem}" for problem in problems]
        return [*lines, *inventory.group_data_problems(self.project, groups)]

    def _check_settings(self) -> dict[str, Settings]:
        """Settings by host name. Raises SettingsError with what is wrong on any host, RunFailed for an unknown
        --limit."""
        settings, problems = {}, [*self._malformed]
        warnings: list[str] = []
        for host in self.inventory:
            try:
                settings[host.name] = settings_of(host, self.inventory_file, warnings.append)
            except SettingsError as error:
                problems += error.problems
        # Hosts share files of settings.
        self._warnings = [*dict.fromkeys(warnings), *pin.warnings(self.project)]
        unknown = self._unknown_limit()
        if problems:
            raise SettingsError([*problems, *unknown])
        if unknown:
            raise RunFailed(unknown[0])
        return settings

    @property
    def warnings(self) -> list[str]:
        """What should be changed in the settings, a line each. It asks git: a connection may begin meanwhile."""
        committed = (line for its in self.settings.values() for line in committed_warnings(its))
        return list(dict.fromkeys([*self._warnings, *committed]))

    def _unknown_limit(self) -> list[str]:
        there = {h.name for h in self.inventory} | {group for h in self.inventory for group in h.groups}
        unknown = [name or "''" for name in self.limit if name not in there]
        names = ", ".join(sorted(there))
        return [f"--limit {', '.join(unknown)}: no such host or role; there are: {names}"] if unknown else []

    def _limited(self) -> list[Host] | None:
        return [h for h in self.inventory if {h.name, *h.groups} & set(self.limit)] if self.limit else None

    def hosts(self) -> list[Host]:
        """The hosts of this run, those of --limit if it is given."""
        return [host for host in self.inventory if self.state.is_host_in_limit(host)]

    def active_hosts(self) -> list[Host]:
        """Those that have not failed."""
        return [host for host in self.hosts() if host in self.state.active_hosts]

    def roles(self) -> dict[str, list[str]]:
        """The roles of each host of this run, by its name."""
        return {host.name: [role for role in ROLES if role in host.groups] for host in self.hosts()}

    def begin(self) -> None:
        """Let the handshakes begin; the `with` block waits for them. It may be called again."""
        if not self._connecting:
            self.state.set_stage(StateStage.Connect)
            self._connecting = {host: gevent.spawn(self._connect, host) for host in self.hosts()}
            # The handshakes wait for the network, and what we do next takes our time.
            under_way = [host.connector.under_way for host in self.hosts() if isinstance(host.connector, Connector)]
            gevent.wait(under_way, timeout=BEGIN_SECONDS)

    def __enter__(self) -> Connections:
        with failing(self.log):
            self.begin()
            # In small steps: a handshake is mostly waiting.
            for _ in preload():
                gevent.idle()
            for host, greenlet in self._connecting.items():
                greenlet.get()
                if host.connected:
                    self.state.activate_host(host)
            if not self.active_hosts():
                raise PyinfraError("\n".join([*self.failures.values(), "nothing was changed"]))
        return self

    def __exit__(self, *exception: object) -> None:
        gevent.killall(self._recalling)
        disconnect_all(self.state)
        self.log.close()

    def _connect(self, host: Host) -> None:
        """Connect a host by a login that it has, and ask it at once what was asked by the last plan."""
        settings = self.settings[host.name]
        asked = query_cache.recall(self._cached_as(host), by_sudo=True)
        was_root = bool(asked) and not any(question.by_sudo for question in asked)
        try:
            if said := login.connect(host, settings, bool(asked), was_root):
                self.skipped.append((host.name, said))
        except ConnectError as error:
            self.fail(host, f"[{host.name}] {error}")
            return
        if isinstance(host.connector, Connector):
            questions = query_cache.recall(self._cached_as(host), by_sudo=bool(host.data.get("_sudo")))
            self._recalling.append(gevent.spawn(_try_fetch, host.connector, questions))

    def remember_questions(self) -> None:
        """Keep what was asked, for the next run to ask at once."""
        for host in self.active_hosts():
            if isinstance(host.connector, Connector):
                query_cache.keep(self._cached_as(host), host.connector.to_remember)

    def _cached_as(self, host: Host) -> tuple[str, ...]:
        return self.environment, self.deploy, host.name

    def fail(self, host: Host, text: str) -> None:
        """Leave a host out from here on; the others go on."""
        hints = hints_for(text)
        self.failures[host.name] = "\n".join([*self.log.take(host.name), text, *hints])
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)

    def ask(self, facts: Callable[[Host], tuple[type[FactBase[T]], dict[str, Any]]]) -> dict[str, T]:
        """A fact of each host, given with its arguments, by the host's name; `failures` tells of the others."""

        def ask_one(host: Host) -> T:
            fact, arguments = facts(host)
            with pyinfra_compat.using(self.state, host):
                return cast("T", host.get_fact(fact, **arguments))

        asking = {host: gevent.spawn(ask_one, host) for host in self.active_hosts()}
        answers = {}
        for host, greenlet in asking.items():
            try:
                answers[host.name] = greenlet.get()
            except HostFailed as error:
                self.fail(host, str(error))
        return answers

    def connectors(self, failed: bool = False) -> list[Connector]:
        """Slipway's connectors of the hosts that have not failed, or of all that are connected."""
        hosts = [host for host in self.hosts() if failed or host in self.state.active_hosts]
        return [host.connector for host in hosts if isinstance(host.connector, Connector) and host.connected]

    def by_root(self, script: str | Callable[[Host], str]) -> list[tuple[Connector, Answer]]:
        """Run a script, or a host's own, on all hosts side by side; one where that fails is left out from then on."""
        running = {
            connector: gevent.spawn(connector.by_root, script if isinstance(script, str) else script(connector.host))
            for connector in self.connectors()
        }
        answers = []
        for connector, greenlet in running.items():
            try:
                answers.append((connector, greenlet.get()))
            except HostFailed as error:
                self.fail(connector.host, str(error))
        return answers


def _try_fetch(connector: Connector, questions: list[Question]) -> None:
    """Ask what was asked before. What goes wrong comes up again, and is told, when somebody needs the answer."""
    with suppress(HostFailed):
        connector.batches.fetch(questions)
