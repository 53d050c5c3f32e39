"""The one place that drives pyinfra: everything else asks it for a plan or an apply.

Nothing here is a public API of pyinfra_cli; version 3.10 is pinned for it. What other modules use is `Session`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import pyinfra
import pyinfra_cli  # noqa: F401  patches the standard library for gevent, before anything else is imported
from paramiko import SSHException
from pyinfra.api import Config, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.api.operations import run_ops
from pyinfra.api.state import BaseStateCallback, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli.exceptions import UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import exec_file

from slipway import login, report
from slipway.pyinfra_settings import settings_of
from slipway.settings import Settings, SettingsError, parse_items
from slipway.ssh import send_at_once, tell_when_broken

PROJECT = Path(__file__).resolve().parent.parent
# The command line shows progress; pyinfra's own line would be written over it.
os.environ["PYINFRA_PROGRESS"] = "off"
ROLES = ("web", "app", "db")
# What a user can do about an error of ssh's, by a part of its text.
HINTS = {
    "No host key for": "type `ssh USER@HOST true`, and compare the fingerprint that it shows with your provider's",
    "IDENTIFICATION HAS CHANGED": "if the server was set up anew: ssh-keygen -R HOST, then ssh USER@HOST true",
    "Authentication error": "set ssh_user and ssh_key for the host in the inventory; ssh USER@HOST must work by itself",
    "Could not connect": "is the server up, and are ssh_hostname and ssh_port right?",
    "Could not resolve hostname": "set the host's name, or its address as ssh_hostname, in the inventory",
    "connection broke": "is the server up? When it is, run this again: it goes on from what is there",
    "No space left on device": "the server's disk is full: free some space (df -h shows where), then run it again",
    "a password is required": "let the user sudo without one: USER ALL=(ALL) NOPASSWD: ALL in /etc/sudoers.d/USER",
}
# MongoDB alone asks for files of 100 MB at its start.
FULL_MB = 200
INVENTORIES = {"production": "inventory.py", "lab": "lab/inventory.py"}


class RunFailed(Exception):
    """A run that did not end well; `str()` is what the user reads."""


@dataclass
class Change:
    """An operation that changes something on a host, and what it says about it (diffs, reasons)."""

    host: str
    operation: str
    notes: list[str] = field(default_factory=list)
    # It runs because of another change: a restart, a reload.
    is_reaction: bool = False


@dataclass
class Outcome:
    """What a plan found or an apply did, in order; what was skipped on which host and why; operations of all hosts."""

    changes: list[Change]
    skipped: list[tuple[str, str]]
    operations: int
    seconds: float


# Called as an operation starts and as it ends: host, operation, "running" | "changed" | "ok" | "failed", seconds.
Progress = Callable[[str, str, str, float], None]


class Session:
    """One connection to the hosts of an environment, for a plan and perhaps an apply after it.

    with Session("lab", "deploy.py") as session:
        if session.plan().changes:
            session.apply(print)
    """

    def __init__(
        self,
        environment: str,
        deploy: str,
        limit: Iterable[str] = (),
        items: Iterable[str] = (),
    ) -> None:
        """`items` are NAME=VALUE settings that win over all others. Raises SettingsError, RunFailed."""
        self.deploy = deploy
        self.limit = tuple(limit)
        self.inventory_file = INVENTORIES[environment]
        self._notes: dict[tuple[str, str], list[str]] = {}
        self._skipped: list[tuple[str, str]] = []
        self._log = _CollectedLog()
        # An error of a greenlet reaches us where it is waited for; gevent would print its traceback as well.
        gevent.get_hub().exception_stream = None
        self._data, self._malformed = parse_items(items)
        self._load()

    def _load(self) -> None:
        os.chdir(PROJECT)
        # pyinfra takes a missing file for a host's name, and a missing group_data/all.py for one without settings.
        for file in (self.inventory_file, "group_data/all.py"):
            if not Path(file).is_file():
                raise RunFailed(f"{file}: there is no such file in {PROJECT}; restore it (git checkout {file})")
        if str(PROJECT) not in sys.path:
            sys.path.append(str(PROJECT))
        pyinfra.is_cli = True  # orders operations by the lines of the deploy file, as pyinfra's own command does
        self.state = State(check_for_changes=True)
        self.state.cwd = str(PROJECT)
        ctx_state.set(self.state)
        config = Config()
        ctx_config.set(config)
        config.lock_current_state()
        with self._failing(), _in_words():
            self.inventory = make_inventory(self.inventory_file, override_data=self._data, cwd=str(PROJECT))
        self._check_roles()
        ctx_inventory.set(self.inventory)
        self.settings = self._check_settings()
        with self._failing():
            self.state.init(self.inventory, config, initial_limit=self._limited())

    def _check_roles(self) -> None:
        """Raises RunFailed where a host has nothing to do: a misspelt role would make a plan that is always clean."""
        if not len(self.inventory):
            raise RunFailed(f"{self.inventory_file}: found no host, expected lists of hosts: {', '.join(ROLES)}")
        idle = [host.name for host in self.inventory if not set(host.groups) & set(ROLES)]
        if idle:
            raise RunFailed(f"{self.inventory_file}: found {', '.join(idle)} in none of the roles {', '.join(ROLES)}")

    def _check_settings(self) -> dict[str, Settings]:
        """Settings by host name. Raises SettingsError with what is wrong on any host."""
        settings, problems = {}, [*self._malformed]
        for host in self.inventory:
            try:
                settings[host.name] = settings_of(host, self.inventory_file)
            except SettingsError as error:
                problems += error.problems
        if problems:
            raise SettingsError(problems)
        return settings

    def _limited(self) -> list[Host] | None:
        if not self.limit:
            return None
        chosen = [h for h in self.inventory if h.name in self.limit or set(h.groups) & set(self.limit)]
        if not chosen:
            names = sorted({h.name for h in self.inventory} | {g for h in self.inventory for g in h.groups})
            raise RunFailed(f"--limit {' '.join(self.limit)}: no such host or role; there are: {', '.join(names)}")
        return chosen

    def hosts(self) -> list[Host]:
        """The hosts of this session, those of --limit if it is given."""
        return [host for host in self.inventory if self.state.is_host_in_limit(host)]

    def __enter__(self) -> Session:
        report.listen(self._note)
        with self._failing():
            self.state.set_stage(StateStage.Connect)
            self._log_in()
            connect_all(self.state)
            missing = [h.name for h in self.hosts() if not h.connected]
            if missing:
                raise PyinfraError(f"no connection to {', '.join(missing)}; nothing was changed")
            for host in self.hosts():
                send_at_once(host)
                tell_when_broken(host)
            self._check_sudo()
        return self

    def _log_in(self) -> None:
        """Connect the hosts by a login that they have; those that have none are left to pyinfra to complain about."""
        tries = {
            host.name: self.state.pool.spawn(login.connect, host, self.settings[host.name]) for host in self.hosts()
        }
        for host in self.hosts():
            found, wanted = tries[host.name].get(), login.candidates(host, self.settings[host.name])[0]
            if found and found != wanted:
                said = f"{found.user} logs in by port {found.port}: {wanted.user} by port {wanted.port} can't yet"
                self._skipped.append((host.name, said))

    def _check_sudo(self) -> None:
        """Raises PyinfraError where sudo wants a password: pyinfra would ask for it in the middle of a run, and hand it
        over in a command line, which every user of the server can read."""
        refused = [
            f"{host.name}: sudo is refused, or a password is required"
            for host in self.hosts()
            # Where pyinfra sees sudo's complaint, it asks for the password.
            if host.data.get("_sudo") and not host.run_shell_command("sudo -n true 2>/dev/null")[0]
        ]
        if refused:
            raise PyinfraError("\n".join(refused))

    def __exit__(self, *exception: object) -> None:
        disconnect_all(self.state)
        report.listen(None)
        self._log.close()

    def plan(self) -> Outcome:
        """Compare the hosts with what they should be; nothing is changed."""
        began = time.monotonic()
        with self._failing(), _in_words(), _expected_changes():
            self.state.set_stage(StateStage.Prepare)
            self._load_deploy()
            changes = list(self._expected())
        return self._outcome(changes, began)

    def _load_deploy(self) -> None:
        """Run the deploy file for each host side by side. Raises PyinfraError with what is in the way on any of them:
        pyinfra's own loader would stop at the first host that has a complaint."""
        self.state.current_deploy_filename = self.deploy

        def load(host: Host) -> Exception | None:
            try:
                with ctx_config.use(self.state.config.copy()), ctx_host.use(host):
                    exec_file(self.deploy)
            except Exception as error:
                return error
            return None

        loading = [self.state.pool.spawn(load, host) for host in self.state.inventory.get_active_hosts()]
        errors = [error for greenlet in loading if (error := greenlet.get())]
        for error in errors:
            if not isinstance(error, PyinfraError):
                raise error
        if errors:
            raise PyinfraError("\n".join(map(str, errors)))

    def _expected(self) -> Iterator[Change]:
        """The operations that would change something, reactions only where what they react to would."""
        for op_hash in self.state.get_op_order():
            for host in self.state.inventory.get_active_hosts():
                operation = self.state.ops[host].get(op_hash)
                if operation is None or not operation.operation_meta._maybe_is_change:
                    continue
                condition = operation.global_arguments.get("_if")
                if condition:
                    with ctx_host.use(host):
                        conditions = condition if isinstance(condition, list) else [condition]
                        if not all(one() for one in conditions):
                            operation.operation_meta._maybe_is_change = False
                            continue
                notes = self._notes.get((host.name, op_hash), [])
                yield Change(host.name, self._name(op_hash), list(dict.fromkeys(notes)), bool(condition))

    def apply(self, tell: Progress) -> Outcome:
        """Bring the hosts to what they should be. Call it after `plan`. Raises RunFailed where an operation fails."""
        began = time.monotonic()
        self._notes.clear()
        done: list[Change] = []
        self.state.add_callback_handler(_callbacks(self, tell, done))
        with self._failing():
            self.state.set_stage(StateStage.Execute)
            run_ops(self.state)
            if self.state.failed_hosts:
                for host in self.state.failed_hosts:
                    self._tell_full_disks(host)
                raise PyinfraError(f"failed on {', '.join(h.name for h in self.state.failed_hosts)}")
        return self._outcome(done, began)

    def _tell_full_disks(self, host: Host) -> None:
        """Say that a disk of a host that failed is full: the service that died of it need not have said so itself."""
        try:
            _, output = host.run_shell_command(
                "df --output=avail,target / /var /tmp | tail -n +2 | sort -u", _timeout=10
            )
        except (TimeoutError, OSError, SSHException):
            return
        for line in output.stdout_lines:
            kilobytes, target = line.split()
            if int(kilobytes) < FULL_MB * 1024:
                free = f"{int(kilobytes) // 1024} MiB are free"
                self._log.lines.append(f"[{host.name}] No space left on device, or almost: {free} on {target}")

    def _outcome(self, changes: list[Change], began: float) -> Outcome:
        operations = sum(len(self.state.ops[host]) for host in self.state.inventory.get_active_hosts())
        return Outcome(changes, list(dict.fromkeys(self._skipped)), operations, time.monotonic() - began)

    def _name(self, op_hash: str) -> str:
        return ", ".join(sorted(self.state.op_meta[op_hash].names))

    def _note(self, host: str, op_hash: str | None, text: str) -> None:
        if op_hash is None:
            self._skipped.append((host, text))
        else:
            self._notes.setdefault((host, op_hash), []).append(text)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn pyinfra's and ssh's errors, and what was logged on the way, into one RunFailed."""
        try:
            yield
        except (PyinfraError, SSHException) as error:
            # pyinfra's last word is that no host is left; what happened is in its log.
            last = "" if str(error) == "No hosts remaining!" else str(error)
            lines = [line for line in [*self._log.take(), last] if line]
            hints = [f"  {hint}" for sign, hint in HINTS.items() if any(sign in line for line in lines)]
            raise RunFailed("\n".join([*lines, *hints])) from error


@contextmanager
def _in_words() -> Iterator[None]:
    """Turn what a mistake in the inventory, the settings or the deploy file raises into one line that says where."""
    try:
        yield
    except (SyntaxError, UnexpectedExternalError) as error:
        cause = error.exception if isinstance(error, UnexpectedExternalError) else error
        if isinstance(cause, SyntaxError):
            file, line, text, what = cause.filename, cause.lineno, (cause.text or "").strip(), cause.msg
        else:
            frames = traceback.extract_tb(cause.__traceback__)
            frame = [f for f in frames if "site-packages" not in f.filename][-1]
            file, line, text, what = frame.filename, frame.lineno, str(frame.line), f"{type(cause).__name__}: {cause}"
        raise RunFailed(f"{_shown(file)}, line {line}: {what}: {text}") from error


def _shown(file: str | None) -> str:
    """A file's name as the user knows it, relative to the project."""
    path = Path(file or "?")
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _callbacks(session: Session, tell: Progress, done: list[Change]) -> BaseStateCallback:
    """A callback handler of pyinfra that tells how each operation goes, and adds what changed to `done`."""
    began: dict[tuple[str, str], float] = {}

    class Callbacks(BaseStateCallback):
        @staticmethod
        def operation_host_start(state: State, host: Host, op_hash: str) -> None:
            began[host.name, op_hash] = time.monotonic()
            tell(host.name, session._name(op_hash), "running", 0)

        @staticmethod
        def operation_host_error(
            state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
        ) -> None:
            tell(host.name, session._name(op_hash), "failed", time.monotonic() - began[host.name, op_hash])

        # Not operation_host_success: an operation's result is recorded only after that one is called.
        @staticmethod
        def operation_end(state: State, op_hash: str) -> None:
            for host in state.inventory.get_active_hosts():
                operation = state.ops[host].get(op_hash)
                if operation is None or not operation.operation_meta.is_complete():
                    continue
                changed = operation.operation_meta.did_change()
                name, seconds = session._name(op_hash), time.monotonic() - began[host.name, op_hash]
                if changed:
                    notes = list(dict.fromkeys(session._notes.get((host.name, op_hash), [])))
                    done.append(Change(host.name, name, notes, bool(operation.global_arguments.get("_if"))))
                tell(host.name, name, "changed" if changed else "ok", seconds)

    return Callbacks()


@contextmanager
def _expected_changes() -> Iterator[None]:
    """In a plan nothing has run yet: `op.did_change()` answers whether the operation would change something."""
    original = OperationMeta.did_change

    def would_change(self: OperationMeta) -> bool:
        return original(self) if self.is_complete() else bool(self._maybe_is_change)

    OperationMeta.did_change = would_change  # type: ignore[method-assign]
    try:
        yield
    finally:
        OperationMeta.did_change = original  # type: ignore[method-assign]


class _CollectedLog(logging.Handler):
    """pyinfra's warnings and errors, as plain lines."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        logger = logging.getLogger("pyinfra")
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()).rstrip()
        if record.levelno >= logging.WARNING:
            self.lines.append(text)

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    def close(self) -> None:
        logging.getLogger("pyinfra").removeHandler(self)
        super().close()
