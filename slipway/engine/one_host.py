"""A host that no inventory names: reached as `ssh` reaches it, and only asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gevent

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import pyinfra
from pyinfra.api import Config, FactBase, Inventory, State
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host

from slipway.engine import openssh, run
from slipway.engine.connections import Connections
from slipway.engine.connector import Connector, HostFailed
from slipway.engine.errors import CollectedLog, RunFailed, failing, hints_for
from slipway.engine.remote_shell import NoAnswer, NoShell
from slipway.engine.run import Run
from slipway.settings.inventory import REQUIRED

# Who may be there where neither HOST nor ssh's configuration names a user: on a fresh server, and on a finished one.
USERS = ("root", "admin")
# What a user can do, where errors.HINTS speaks of an inventory.
HINTS = {
    "Authentication error": "`ssh USER@HOST` must work by itself; another key: --data ssh_key=FILE",
    "Could not connect": "is the server up, and is the port right? [user@]name:port names another",
    "Could not resolve hostname": "give its address, or an alias of ~/.ssh/config",
}


@dataclass(frozen=True)
class Target:
    """What `ssh` is given: [user@]name[:port]. A name may be an alias of ssh's configuration."""

    name: str
    user: str = ""
    port: int = 0

    @staticmethod
    def parse(text: str) -> Target:
        """Raises ValueError with what is expected."""
        user, at, rest = text.rpartition("@")
        if rest.startswith("["):
            name, _, port = rest[1:].partition("]")
            port = port.removeprefix(":")
        elif rest.count(":") > 1:
            name, port = rest, ""
        else:
            name, _, port = rest.partition(":")
        is_name = re.fullmatch(r"[\w:.%-]+", name) and not name.startswith("-")
        is_port = not port or (port.isdigit() and 1 <= int(port) <= 65535)
        if not is_name or not is_port or (at and not re.fullmatch(r"[^@\s:-][^@\s:]*", user)):
            raise ValueError(
                f'found {text!r}, expected [user@]name[:port], as "root@203.0.113.7:2222" or an alias of ~/.ssh/config'
            )
        return Target(name, user, int(port or 0))


class OneHost(Connections):
    """The host, in all roles, connected within a `with` block.

    with OneHost(Target("codementee.io"), {}) as one:
        answers = one.answers({"machine": (Machine, {})})
    """

    def __init__(self, target: Target, data: Mapping[str, Any]) -> None:
        """`data` are pyinfra's connection data (ssh_key, ...), `_sudo` and timeout_scale. There are no settings of a
        project."""
        self.target = target
        # Why root's rights are not there; "" where they are.
        self.without_root = ""
        self._may_sudo = bool(data.get("_sudo", True))
        self.environment = self.deploy = self.inventory_file = ""
        self.limit = ()
        self.run = Run(collects_notes=True)
        self.project = Path()
        self.skipped, self._warnings, self.failures, self.settings = [], [], {}, {}
        self._connecting, self._recalling = {}, []
        self.log = CollectedLog()
        gevent.get_hub().exception_stream = None
        pyinfra_compat.prepare()
        pyinfra.is_cli = True
        self.state = State(check_for_changes=False)
        run.start(self.state, self.run)
        pyinfra_compat.ctx_state.set(self.state)
        config = Config()
        pyinfra_compat.ctx_config.set(config)
        config.lock_current_state()
        own = {"ssh_strict_host_key_checking": "yes", **data}
        own |= {"ssh_user": target.user} if target.user else {}
        own |= {"ssh_port": target.port} if target.port else {}
        roles: Any = {role: ([target.name], {}) for role in REQUIRED}
        self.inventory = Inventory(([(target.name, own)], {}), **roles)
        pyinfra_compat.ctx_inventory.set(self.inventory)
        self.host: Host = next(iter(self.inventory))
        self.host.connector_cls = Connector
        with failing(self.log):
            self.state.init(self.inventory, config)

    def __enter__(self) -> OneHost:
        try:
            super().__enter__()
        except RunFailed as error:
            self.__exit__()
            raise RunFailed(self.failures.get(self.host.name) or str(error)) from None
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def connector(self) -> Connector:
        return cast("Connector", self.host.connector)

    @property
    def user(self) -> str:
        """Who is logged in."""
        assert self.connector.client
        transport = self.connector.client.get_transport()
        return str(transport.get_username()) if transport else ""

    def fail(self, host: Host, text: str) -> None:
        hints = [f"  {hint}" for sign, hint in HINTS.items() if sign in text] or hints_for(text)
        self.failures[host.name] = "\n".join([*self.log.take(host.name), text, *hints])
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)

    def remember_questions(self) -> None:
        """Nothing: the next host is another one."""

    def _connect(self, host: Host) -> None:
        """Log in as the user that is named, or by the first that the host lets in."""
        data = self.connector.data
        failure = ""
        try:
            users = [data["ssh_user"]] if data.get("ssh_user") else [openssh.way(host.name, data).user, *USERS]
        except ConnectError as error:
            users, failure = [], str(error)
        while users:
            user = users.pop(0)
            users = [other for other in users if other != user]
            data["ssh_user"] = user
            try:
                host.connect(show_errors=False, raise_exceptions=True)
                if user == "root":
                    # What a provider puts before root's key names another user instead of running a command.
                    host.data._sudo = False
                    self.connector.prove_login()
                break
            except ConnectError as error:
                failure = failure or str(error)
                # Another user won't do where nobody answers, or where the host is not the one that we know.
                if "Authentication error" not in str(error):
                    break
            except NoAnswer as error:
                failure = f"{user} logs in, but {error}"
                users = [error.user_to_be] if isinstance(error, NoShell) and error.user_to_be else []
            host.disconnect()
        if not host.connected:
            self.fail(host, f"[{host.name}] {failure}")
            return
        self._use_sudo(host)

    def _use_sudo(self, host: Host) -> None:
        host.data._sudo = self.user != "root" and self._may_sudo
        if self.user != "root" and not self._may_sudo:
            self.without_root = f"{self.user} is not root, and _sudo is off"

    def answers(self, facts: Mapping[str, tuple[type[FactBase[Any]], dict[str, Any]]]) -> dict[str, Any]:
        """The answers to facts with their arguments, by the same names, in one round trip. Where sudo is refused they
        are asked once more, without. Raises RunFailed."""

        def question(fact: type[FactBase[Any]], arguments: dict[str, Any]) -> Callable[[], Any]:
            return lambda: self.host.get_fact(fact, **arguments)

        questions = {name: question(*one) for name, one in facts.items()}
        try:
            return self._together(questions)
        except PyinfraError as error:
            if not isinstance(error, HostFailed) or not self.host.data.get("_sudo"):
                raise self._failed(error) from None
            self.host.data._sudo = False
            text = str(error).removeprefix(f"[{self.host.name}] ")
        answers = self.together(questions)
        self.without_root = f"{self.user} is not root, and {text}"
        return answers

    def together(self, work: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """The results of functions that ask facts of `pyinfra.host`, by name; what they ask first goes out as one
        batch. Raises RunFailed."""
        try:
            return self._together(work)
        except PyinfraError as error:
            raise self._failed(error) from None

    def _together(self, work: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        def one(function: Callable[[], Any]) -> Any:
            with pyinfra_compat.using(self.state, self.host), self.connector.batches.asking():
                return function()

        # No batch goes before the last of them has begun.
        with self.connector.batches.asking():
            working = {name: gevent.spawn(one, function) for name, function in work.items()}
            gevent.sleep(0)
        gevent.joinall([*working.values()])
        return {name: greenlet.get() for name, greenlet in working.items()}

    def _failed(self, error: PyinfraError) -> RunFailed:
        self.fail(self.host, str(error))
        return RunFailed(self.failures[self.host.name])
