"""A host that no inventory names: reached as `ssh` reaches it, and only asked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import gevent

from slipway.engine import pyinfra_compat  # isort: skip  patches first

from pyinfra.api import Config, FactBase, Inventory, State
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage

from slipway.engine import run
from slipway.engine.connector import Connector, HostFailed
from slipway.engine.errors import CollectedLog, RunFailed, failing, hints_for
from slipway.engine.run import Run
from slipway.settings.inventory import ROLES

# Who may be there where neither HOST nor ssh's configuration names a user: on a fresh server, and on a finished one.
USERS = ("root", "admin")
os.environ["PYINFRA_PROGRESS"] = "off"


@dataclass(frozen=True)
class Target:
    """What `ssh` is given: [user@]name[:port]. A name may be an alias of ssh's configuration."""

    name: str
    user: str = ""
    port: int = 0

    @staticmethod
    def parse(text: str) -> Target:
        """Raises ValueError with what is expected."""
        found = re.fullmatch(
            r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[\w.-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:"
            r"[0-9A-Fa-f:.]*))(?::(?P<port>\d{1,5}))?",
            text,
        )
        if not found or text.startswith("-") or int(found["port"] or 1) not in range(1, 65536):
            raise ValueError(
                f'found {text!r}, expected [user@]name[:port], as "root@203.0.113.7:2222" or an alias of ~/.ssh/config'
            )
        return Target(found["v6"] or found["name"], found["user"] or "", int(found["port"] or 0))


class OneHost:
    """The host, connected within a `with` block.

    with OneHost(Target("codementee.io"), {}) as one:
        answers = one.ask({"machine": (Machine, {})})
    """

    def __init__(self, target: Target, data: Mapping[str, Any]) -> None:
        """`data` are pyinfra's connection data (ssh_key, ...), `_sudo` and timeout_scale."""
        self.target = target
        # Why root's rights are not there; "" where they are.
        self.without_root = ""
        self._may_sudo = data.get("_sudo", True)
        self.log = CollectedLog()
        gevent.get_hub().exception_stream = None
        pyinfra_compat.prepare()
        self.state = State(check_for_changes=False)
        run.start(self.state, Run())
        pyinfra_compat.ctx_state.set(self.state)
        config = Config()
        pyinfra_compat.ctx_config.set(config)
        own = {"ssh_strict_host_key_checking": "yes", **data}
        own |= {"ssh_user": target.user} if target.user else {}
        own |= {"ssh_port": target.port} if target.port else {}
        roles: Any = {role: ([target.name], {}) for role in ROLES}
        inventory = Inventory(([(target.name, own)], {}), **roles)
        pyinfra_compat.ctx_inventory.set(inventory)
        self.host = cast("Host", next(iter(inventory)))
        self.host.connector_cls = Connector
        with failing(self.log):
            self.state.init(inventory, config)

    def __enter__(self) -> OneHost:
        self.state.set_stage(StateStage.Connect)
        try:
            self._connect()
        except ConnectError as error:
            lines = [*self.log.take(self.host.name), f"[{self.host.name}] {error}"]
            raise RunFailed("\n".join([*lines, *hints_for("\n".join(lines))])) from None
        self.state.activate_host(self.host)
        return self

    def __exit__(self, *exception: object) -> None:
        disconnect_all(self.state)
        self.log.close()

    @property
    def connector(self) -> Connector:
        return cast("Connector", self.host.connector)

    @property
    def user(self) -> str:
        """Who is logged in."""
        assert self.connector.client
        transport = self.connector.client.get_transport()
        return str(transport.get_username()) if transport else ""

    @property
    def is_root(self) -> bool:
        """Whether commands run with root's rights."""
        return not self.without_root

    def _connect(self) -> None:
        """Log in as the user that is named, or by the first that the host lets in. Raises ConnectError."""
        named = self.connector.data.get("ssh_user")
        # None: as ssh's configuration says.
        users = [named] if named else [None, *USERS]
        first: ConnectError | None = None
        for user in users:
            self.connector.data["ssh_user"] = user  # type: ignore[typeddict-item]  # None is its default
            try:
                self.host.connect(show_errors=False, raise_exceptions=True)
                break
            except ConnectError as error:
                first = first or error
                # Another user won't do where nobody answers, or where the host is not the one that we know.
                if "Authentication error" not in str(error):
                    break
        if not self.host.connected:
            assert first
            raise first
        is_root = self.user == "root"
        self.host.data._sudo = bool(not is_root and self._may_sudo)
        if not is_root and not self._may_sudo:
            self.without_root = f"{self.user} is not root, and _sudo is off"

    def ask(self, facts: Mapping[str, tuple[type[FactBase[Any]], dict[str, Any]]]) -> dict[str, Any]:
        """The answers to facts with their arguments, by the same names, in one round trip. Where sudo is refused they
        are asked once more, without. Raises RunFailed."""

        def question(fact: type[FactBase[Any]], arguments: dict[str, Any]) -> Callable[[], Any]:
            return lambda: self.host.get_fact(fact, **arguments)

        questions = {name: question(*one) for name, one in facts.items()}
        try:
            return self._together(questions)
        except HostFailed as error:
            if not self.host.data.get("_sudo"):
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
        except HostFailed as error:
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

    def _failed(self, error: HostFailed) -> RunFailed:
        return RunFailed("\n".join([*self.log.take(self.host.name), str(error), *hints_for(str(error))]))
