"""The one place that drives pyinfra: everything else asks it for a plan or an apply, by a `Session`.

A plan evaluates all operations side by side, so that what they ask of a host goes out in one batch
(slipway/batches.py). An apply runs them in order, and asks along with the facts of an operation those of the operations
up to the next change.
"""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import gevent

from slipway import adapter  # isort: skip  patches first

import pyinfra
from paramiko import SSHException
from pyinfra.api import Config, FactBase, State, StringCommand
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage
from pyinfra.connectors.ssh import SSHConnector

from slipway import components, inventory, limits, lock, login, memory, report
from slipway.components import component_of
from slipway.connector import Connector, HostFailed
from slipway.inventory import ROLES
from slipway.pyinfra_settings import settings_of
from slipway.settings import Settings, SettingsError, parse_items
from slipway.shell import Answer, Question

if TYPE_CHECKING:
    from slipway.plan_report import PlanReport

PROJECT = Path(__file__).resolve().parent.parent
# The command line shows progress; pyinfra's own line would be written over it.
os.environ["PYINFRA_PROGRESS"] = "off"
# What a user can do about an error of ssh's, by a part of its text.
HINTS = {
    "No host key for": "type `ssh USER@HOST true`, and compare the fingerprint that it shows with your provider's",
    "IDENTIFICATION HAS CHANGED": "if the server was set up anew: ssh-keygen -R HOST, then ssh USER@HOST true",
    "Authentication error": "set ssh_user and ssh_key for the host in the inventory; ssh USER@HOST must work by itself",
    "Could not connect": "is the server up, and are ssh_hostname and ssh_port right?",
    "then said nothing": "is the server overloaded, or something on the way that swallows connections? Try again",
    "Could not resolve hostname": "set the host's name, or its address as ssh_hostname, in the inventory",
    "connection broke": "is the server up? When it is, run this again: it goes on from what is there",
    "No space left on device": "the server's disk is full: free some space (df -h shows where), then run it again",
    "a password is required": "let the user sudo without one: USER ALL=(ALL) NOPASSWD: ALL in /etc/sudoers.d/USER",
}
# MongoDB alone asks for files of 100 MB at its start.
FULL_MB = 200
INVENTORIES = {"production": "inventory.py", "lab": "lab/inventory.py"}


VERBS = {"deploy.py": "apply", "release.py": "release", "rollback.py": "rollback"}
# Of what a command has printed, and of the command itself, a failure shows this much.
LINES_SHOWN, COMMAND_SHOWN = 30, 300
T = TypeVar("T")


class RunFailed(Exception):
    """A run that did not end well; `str()` is what the user reads."""


class ApplyFailed(RunFailed):
    """An apply that failed on some hosts, and what it did before and on the others."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("\n\n".join(outcome.failures.values()))
        self.outcome = outcome


@dataclass
class Change:
    """An operation that changes something on a host, and what it says about it (diffs, reasons)."""

    host: str
    operation: str
    notes: list[str] = field(default_factory=list)
    # It runs because of another change: a restart, a reload.
    is_reaction: bool = False
    component: str = components.OTHER


@dataclass
class Outcome:
    """What a plan found or an apply did, in order; what was skipped on which host and why; operations of all hosts."""

    changes: list[Change]
    skipped: list[tuple[str, str]]
    operations: int
    seconds: float
    # Hosts that could not be asked, or at which something failed, and what happened.
    failures: dict[str, str] = field(default_factory=dict)


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
        only: Iterable[str] = (),
    ) -> None:
        """`items` are NAME=VALUE settings that win over all others; `only` are components. Raises SettingsError,
        RunFailed."""
        self.environment, self.deploy = environment, deploy
        self.verb = VERBS.get(deploy, "ask")
        self.limit = tuple(limit)
        self.inventory_file = INVENTORIES[environment]
        self._notes: dict[tuple[str, str], list[str]] = {}
        self._skipped: list[tuple[str, str]] = []
        # What happened to hosts that were left out from then on, by name.
        self.failures: dict[str, str] = {}
        # The hosts that a plan was made for.
        self._planned: list[Host] = []
        self._connecting: dict[Host, gevent.Greenlet] = {}
        self._recalling: list[gevent.Greenlet] = []
        self._log = _CollectedLog()
        # An error of a greenlet reaches us where it is waited for; gevent would print its traceback as well.
        gevent.get_hub().exception_stream = None
        self._data, self._malformed = parse_items(items)
        self._load()
        self._choose([name for names in only for name in names.split(",") if name])

    def _load(self) -> None:
        os.chdir(PROJECT)
        # pyinfra takes a missing file for a host's name, and a missing group_data/all.py for one without settings.
        for file in (self.inventory_file, "group_data/all.py"):
            if not Path(file).is_file():
                raise RunFailed(f"{file}: there is no such file in {PROJECT}; restore it (git checkout {file})")
        if str(PROJECT) not in sys.path:
            sys.path.append(str(PROJECT))
        adapter.prepare()
        pyinfra.is_cli = True  # orders operations by the lines of the deploy file, as pyinfra's own command does
        self.state = State(check_for_changes=False)  # `plan` does it, for all operations at once
        self.state.cwd = str(PROJECT)
        adapter.ctx_state.set(self.state)
        config = Config()
        adapter.ctx_config.set(config)
        config.lock_current_state()
        with self._failing(), _in_words():
            self.inventory = adapter.load_inventory(
                self.inventory_file, self._data, str(PROJECT), self._check_inventory
            )
        self._check_roles()
        adapter.ctx_inventory.set(self.inventory)
        for host in self.inventory:
            if host.connector_cls is SSHConnector:
                host.connector_cls = Connector
        self.settings = self._check_settings()
        with self._failing():
            self.state.init(self.inventory, config, initial_limit=self._limited())

    def _check_inventory(self, names: dict[str, Any]) -> None:
        """Raises RunFailed with everything that is wrong with the top-level names of the inventory."""
        if problems := inventory.problems(names):
            count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
            lines = "\n".join(f"  - {self.inventory_file}: {problem}" for problem in problems)
            raise RunFailed(f"{count} in the inventory; no host was touched.\n{lines}")

    def _check_roles(self) -> None:
        """Raises RunFailed where there is no host, or one has nothing to do."""
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
        there = {h.name for h in self.inventory} | {group for h in self.inventory for group in h.groups}
        if unknown := [name for name in self.limit if name not in there]:
            names = ", ".join(sorted(there))
            raise RunFailed(f"--limit {', '.join(unknown)}: no such host or role; there are: {names}")
        return [h for h in self.inventory if {h.name, *h.groups} & set(self.limit)]

    def _choose(self, only: list[str]) -> None:
        if only:
            known = known_components()
            unknown = [name for name in only if name not in known]
            if unknown:
                there = ", ".join(known)
                raise RunFailed(f"--only {','.join(only)}: found no component {', '.join(unknown)}; there are: {there}")
        components.choose(only)

    def hosts(self) -> list[Host]:
        """The hosts of this session, those of --limit if it is given."""
        return [host for host in self.inventory if self.state.is_host_in_limit(host)]

    def begin_connecting(self) -> None:
        """Let the handshakes begin; the block of this session waits for them. It may be called again."""
        if not self._connecting:
            self.state.set_stage(StateStage.Connect)
            self._connecting = {host: gevent.spawn(self._connect, host) for host in self.hosts()}
            gevent.idle()

    def __enter__(self) -> Session:
        report.listen(self._note)
        with self._failing():
            self.begin_connecting()
            self._get_ready()
            for host, greenlet in self._connecting.items():
                greenlet.get()
                if host.connected:
                    self.state.activate_host(host)
            if not self.active_hosts():
                raise PyinfraError("\n".join([*self.failures.values(), "nothing was changed"]))
        return self

    def _get_ready(self) -> None:
        """Load what a plan needs anyway, in small steps: a handshake is mostly waiting."""
        # What is wrong there comes up again, and is told, when it is used.
        with suppress(Exception):
            for step in (_load_tasks, _load_templates, _load_report):
                for _ in step():
                    gevent.idle()

    def ask(self, facts: Callable[[Host], tuple[type[FactBase[T]], dict[str, Any]]]) -> dict[str, T]:
        """A fact of each host, given with its arguments, by the host's name; `failures` tells of the others."""

        def ask_one(host: Host) -> T:
            fact, arguments = facts(host)
            with adapter.using(self.state, host):
                return cast("T", host.get_fact(fact, **arguments))

        asking = {host: gevent.spawn(ask_one, host) for host in self.active_hosts()}
        answers = {}
        for host, greenlet in asking.items():
            try:
                answers[host.name] = greenlet.get()
            except HostFailed as error:
                self._fail(host, str(error))
        return answers

    def roles(self) -> dict[str, list[str]]:
        """The roles of each host of this session, by its name."""
        return {host.name: [role for role in ROLES if role in host.groups] for host in self.hosts()}

    def operations(self) -> list[tuple[str, str]]:
        """All operations of a plan, in order: host, name."""
        order = self.state.get_op_order()
        return [(host.name, self._name(one)) for one in order for host in self.hosts() if one in self.state.ops[host]]

    def _connect(self, host: Host) -> None:
        """Connect a host by a login that it has, and ask it at once what was asked by the last plan."""
        settings = self.settings[host.name]
        try:
            found = login.connect(host, settings)
        except ConnectError as error:
            self._fail(host, f"[{host.name}] {error}")
            return
        wanted = login.candidates(host, settings)[0]
        if found and found != wanted:
            said = f"{found.user} logs in by port {found.port}: {wanted.user} by port {wanted.port} can't yet"
            self._skipped.append((host.name, said))
        if isinstance(host.connector, Connector):
            questions = memory.recall(self._memory_of(host), by_sudo=bool(host.data.get("_sudo")))
            self._recalling.append(gevent.spawn(_try_fetch, host.connector, questions))

    def _memory_of(self, host: Host) -> tuple[str, ...]:
        return self.environment, self.deploy, host.name

    def _fail(self, host: Host, text: str) -> None:
        """Leave a host out from here on; the others go on."""
        hints = [f"  {hint}" for sign, hint in HINTS.items() if sign in text]
        self.failures[host.name] = "\n".join([*self._log.take(host.name), text, *hints])
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)

    def active_hosts(self) -> list[Host]:
        """The hosts of this session that have not failed."""
        return [host for host in self.hosts() if host in self.state.active_hosts]

    def __exit__(self, *exception: object) -> None:
        gevent.killall(self._recalling)
        disconnect_all(self.state)
        report.listen(None)
        self._log.close()

    def plan(self) -> Outcome:
        """Compare the hosts with what they should be; nothing is changed."""
        began = time.monotonic()
        with self._failing(), _in_words(), adapter.expected_changes() as found:
            self.state.set_stage(StateStage.Prepare)
            self.state.current_deploy_filename = self.deploy
            planning = {host: gevent.spawn(self._evaluate, host) for host in self.active_hosts()}
            in_the_way = False
            for host, greenlet in planning.items():
                try:
                    greenlet.get()
                except HostFailed as error:
                    self._fail(host, str(error))
                except PyinfraError as error:
                    self.failures[host.name] = str(error)
                    in_the_way = True
                else:
                    # pyinfra leaves out a host at which a fact fails, and goes on.
                    if host in self.state.failed_hosts:
                        self._fail(host, f"[{host.name}] could not be compared")
            if in_the_way or not self.active_hosts():
                raise PyinfraError("\n".join(self.failures.values()))
            changes = list(self._expected(found))
            self._planned = self.active_hosts()
        for host in self.active_hosts():
            if isinstance(host.connector, Connector):
                memory.keep(self._memory_of(host), host.connector.to_remember)
        return self._outcome(changes, began)

    def _evaluate(self, host: Host) -> None:
        """Run the deploy file for a host, and then all of its operations side by side, each to its first command."""
        with ExitStack() as stack:
            with self._asking(host), adapter.using(self.state, host):
                adapter.exec_file(self.deploy)
            # No batch goes before the last of them has begun.
            stack.enter_context(self._asking(host))
            evaluating = [gevent.spawn(self._evaluate_one, host, op_hash) for op_hash in host.op_hash_order]
            gevent.sleep(0)
            stack.close()
            gevent.joinall(evaluating)
        for greenlet in evaluating:
            greenlet.get()

    def _evaluate_one(self, host: Host, op_hash: str) -> None:
        with self._asking(host):
            adapter.evaluate(self.state, host, op_hash)

    @staticmethod
    def _asking(host: Host) -> AbstractContextManager[None]:
        return host.connector.batches.asking() if isinstance(host.connector, Connector) else nullcontext()

    def _expected(self, found: list[str]) -> Iterator[Change]:
        """The operations that would change something, reactions only where what they react to would: these add to
        `found`."""
        for op_hash in self.state.get_op_order():
            for host in self.active_hosts():
                operation = self.state.ops[host].get(op_hash)
                if operation is None or not operation.operation_meta._maybe_is_change:
                    continue
                condition = operation.global_arguments.get("_if")
                if condition:
                    found.clear()
                    with adapter.using(self.state, host):
                        conditions = condition if isinstance(condition, list) else [condition]
                        if not all(one() for one in conditions):
                            operation.operation_meta._maybe_is_change = False
                            continue
                    causes = "; ".join(map(self._name, dict.fromkeys(found)))
                    self._note(host.name, op_hash, f"follows: {causes}")
                yield self._change(host, op_hash)

    def _change(self, host: Host, op_hash: str) -> Change:
        notes = list(dict.fromkeys(self._notes.get((host.name, op_hash), [])))
        is_reaction = bool(self.state.ops[host][op_hash].global_arguments.get("_if"))
        return Change(host.name, self._name(op_hash), notes, is_reaction, component_of(host.name, op_hash))

    def apply(self, tell: Progress) -> Outcome:
        """Bring the hosts to what they should be. Call it after `plan`. A host stops at its first failure, the others
        finish; ApplyFailed says then what has happened."""
        began = time.monotonic()
        self._notes.clear()
        done: list[Change] = []
        with self._failing():
            self.state.set_stage(StateStage.Execute)
            self.state.is_executing = True
            self._lock()
            # Somebody may have taken their time to say yes.
            adapter.forget_all(self.state)
            order = self.state.get_op_order()
            for host in self.active_hosts():
                if isinstance(host.connector, Connector):
                    host.connector.batches.ahead = partial(self._ahead, host, order)
            try:
                for op_hash in order:
                    self._run(op_hash, tell, done)
            finally:
                self._unlock(done, time.monotonic() - began)
        outcome = self._outcome(done, began)
        if self.failures:
            raise ApplyFailed(outcome)
        return outcome

    def _lock(self) -> None:
        """Raises RunFailed where somebody else is at work on one of the hosts."""
        script = lock.take(lock.who(), lock.now(), f"slipway {self.verb} {self.environment}")
        held = [
            f"[{connector.host.name}] locked by {answer.output.strip()}"
            for connector, answer in self._by_root(script)
            if answer.code
        ]
        if held:
            self._by_root(lock.release())
            hint = "nothing was changed; a lock is gone as soon as its holder is: try again then"
            raise RunFailed("\n".join([*held, hint]))
        for connector in self._connectors():
            connector.may_reconnect = False

    def _unlock(self, done: list[Change], seconds: float) -> None:
        for connector in self._connectors(failed=True):
            name = connector.host.name
            changed = len([change for change in done if change.host == name])
            result = "failed" if name in self.failures else "done"
            line = lock.note(self.verb, version("slipway"), result, changed, seconds)
            # What has cut a host off is told already.
            with suppress(HostFailed, SSHException, OSError):
                if connector.is_open:
                    connector.by_root(f"{line}\n{lock.release()}")
                else:
                    sudo, seconds = connector.host.data.get("_sudo"), limits.of_host(connector.host).last_words
                    connector.host.run_shell_command(line, _sudo=sudo, _timeout=seconds)

    def carry_out(self, verb: str, script: Callable[[Host], str]) -> None:
        """Run a short script of each host's as root there, under the lock, and note it in their logs. Raises
        RunFailed."""
        began, self.verb = time.monotonic(), verb
        with self._failing():
            self._lock()
            done = []
            try:
                for connector, answer in self._by_root(script):
                    if answer.code:
                        self._fail(connector.host, f"[{connector.host.name}] {answer.output.strip()}")
                    else:
                        done.append(Change(connector.host.name, verb))
            finally:
                self._unlock(done, time.monotonic() - began)
        if self.failures:
            raise RunFailed("\n".join(self.failures.values()))

    def report(self, outcome: Outcome) -> PlanReport:
        """What a plan found, for programs and to read."""
        from slipway.plan_report import report_of

        return report_of(self.environment, self.roles(), outcome)

    def record_nothing(self, seconds: float) -> None:
        """Note in the log of the hosts that an apply has found nothing to change."""
        self._by_root(lock.note(self.verb, version("slipway"), "nothing to change", 0, seconds))

    def _connectors(self, failed: bool = False) -> list[Connector]:
        hosts = [host for host in self.hosts() if failed or host in self.state.active_hosts]
        return [host.connector for host in hosts if isinstance(host.connector, Connector) and host.connected]

    def _by_root(self, script: str | Callable[[Host], str]) -> list[tuple[Connector, Answer]]:
        """Run a script, or a host's own, on all hosts side by side; one where that fails is left out from then on."""
        running = {
            connector: gevent.spawn(connector.by_root, script if isinstance(script, str) else script(connector.host))
            for connector in self._connectors()
        }
        answers = []
        for connector, greenlet in running.items():
            try:
                answers.append((connector, greenlet.get()))
            except HostFailed as error:
                self._fail(connector.host, str(error))
        return answers

    def _ahead(self, host: Host, order: list[str]) -> list[Question]:
        """What the operations from the one at hand will ask, as far as the next one that is expected to change."""
        questions: list[Question] = []
        assert isinstance(host.connector, Connector)
        for op_hash in order[order.index(str(host.executing_op_hash)) :]:
            questions += host.connector.asked_by.get(op_hash, {})
            operation = self.state.ops[host].get(op_hash)
            if operation and operation.operation_meta._maybe_is_change:
                break
        return questions

    def _run(self, op_hash: str, tell: Progress, done: list[Change]) -> None:
        """Run an operation on all hosts that have it, side by side unless it says otherwise."""
        hosts = [host for host in self.active_hosts() if op_hash in self.state.ops[host]]
        arguments = self.state.get_op_meta(op_hash).global_arguments
        at_once = 1 if arguments["_serial"] else arguments["_parallel"] or len(hosts) or 1
        for first in range(0, len(hosts), at_once):
            running = [gevent.spawn(self._run_on, host, op_hash, tell, done) for host in hosts[first : first + at_once]]
            gevent.joinall(running, raise_error=True)

    def _run_on(self, host: Host, op_hash: str, tell: Progress, done: list[Change]) -> None:
        name, began = self._name(op_hash), time.monotonic()
        operation = self.state.ops[host][op_hash]
        tell(host.name, name, "running", 0)
        error: Exception | None = None
        with adapter.using(self.state, host):
            try:
                succeeded = run_host_op(self.state, host, op_hash)
            except (PyinfraError, SSHException, OSError, TimeoutError) as caught:
                succeeded, error = False, caught
        seconds = time.monotonic() - began
        if not succeeded:
            tell(host.name, name, "failed", seconds)
            self._tell_full_disks(host)
            self._fail(host, self._where(host, op_hash, error, done))
            return
        changed = operation.operation_meta.did_change()
        if changed:
            done.append(self._change(host, op_hash))
        tell(host.name, name, "changed" if changed else "ok", seconds)

    def _where(self, host: Host, op_hash: str, error: Exception | None, done: list[Change]) -> str:
        """Where a host has stopped, with what, and what state it is in."""
        order = [one for one in self.state.get_op_order() if one in self.state.ops[host]]
        before, changed = order.index(op_hash), sum(change.host == host.name for change in done)
        lines = [f"{host.name} stopped at: {self._name(op_hash)}"]
        said = [line for line in self._log.take(host.name) if not line.startswith("Error: executed ")]
        said += [str(error)] if error else []
        commands = self.state.ops[host][op_hash].operation_meta._commands
        # A sentence about a limit says all about a command that was ended by it.
        is_late = any("on a slow host raise " in line for line in said)
        if commands and isinstance(commands[-1], StringCommand) and not error and not is_late:
            command = " ".join(str(commands[-1]).split())
            lines.append(f"  command: {command[:COMMAND_SHOWN]}{' ...' if len(command) > COMMAND_SHOWN else ''}")
        left_out = len(said) - LINES_SHOWN
        said = [f"... {left_out} lines left out", *said[-LINES_SHOWN:]] if left_out > 0 else said
        lines += [f"  | {line}" for line in said]
        return "\n".join(
            [
                *lines,
                f"  of its {len(order)} operations {before} were done before ({changed} changed something), this one"
                f" may be half done, {len(order) - before - 1} were not reached",
                "  run it again: it goes on from there",
            ]
        )

    def _tell_full_disks(self, host: Host) -> None:
        """Say that a disk of a host that failed is full: the service that died of it need not have said so itself."""
        try:
            _, output = host.run_shell_command(
                "df --output=avail,target / /var /tmp | tail -n +2 | sort -u",
                _timeout=limits.of_host(host).last_words,
            )
        except (TimeoutError, OSError, SSHException):
            return
        for line in output.stdout_lines:
            kilobytes, target = line.split()
            if int(kilobytes) < FULL_MB * 1024:
                free = f"{int(kilobytes) // 1024} MiB are free"
                self._log.lines.append(f"[{host.name}] No space left on device, or almost: {free} on {target}")

    def _outcome(self, changes: list[Change], began: float) -> Outcome:
        operations = sum(len(self.state.ops[host]) for host in self._planned)
        skipped = list(dict.fromkeys(self._skipped))
        return Outcome(changes, skipped, operations, time.monotonic() - began, dict(self.failures))

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
            text = "\n".join(lines)
            hints = [f"  {hint}" for sign, hint in HINTS.items() if sign in text and hint not in text]
            raise RunFailed("\n".join([*lines, *hints])) from error


def known_components() -> list[str]:
    """The names of all components. Raises RunFailed where a module of tasks/ has a mistake."""
    with _in_words():
        deque(_load_tasks(), maxlen=0)
    return sorted(components.names)


def _load_tasks() -> Iterator[str]:
    for module in pkgutil.iter_modules([str(PROJECT / "tasks")]):
        yield importlib.import_module(f"tasks.{module.name}").__name__


# What is imported here is wanted only once the hosts are connected.
def _load_templates() -> Iterator[str]:
    from slipway import operations

    return operations.load_templates()


def _load_report() -> Iterator[str]:
    from slipway import plan_report

    yield plan_report.__name__
    plan_report.PlanReport.model_rebuild()
    for module in ("rich.console", "rich.markup"):
        yield importlib.import_module(module).__name__


@contextmanager
def _in_words() -> Iterator[None]:
    """Turn what a mistake in the inventory, the settings or the deploy file raises into one line that says where."""
    try:
        yield
    except (SyntaxError, adapter.UnexpectedExternalError) as error:
        cause = error.exception if isinstance(error, adapter.UnexpectedExternalError) else error
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


def _try_fetch(connector: Connector, questions: list[Question]) -> None:
    """Ask what was asked before. What goes wrong comes up again, and is told, when somebody needs the answer."""
    with suppress(HostFailed):
        connector.batches.fetch(questions)


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

    def take(self, host: str = "") -> list[str]:
        """What has been logged since, about one host if it is given: without its name then."""
        mark = re.compile(rf"\s*\[{re.escape(host)}\] ?" if host else "")
        lines = [mark.sub("", line, count=1) for line in self.lines if mark.match(line)]
        self.lines = [line for line in self.lines if not mark.match(line)]
        return lines

    def close(self) -> None:
        logging.getLogger("pyinfra").removeHandler(self)
        super().close()
