"""The apply: operations run in order, under a lock on each host. Each sends, along with its own queries, those of the
operations up to the next change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version

import gevent

from slipway.engine import pyinfra_compat  # isort: skip  patches first

from paramiko import SSHException
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage

from slipway.engine import lock
from slipway.engine.connector import Connector, HostFailed
from slipway.engine.errors import ApplyFailed, RunFailed, failing
from slipway.engine.outcome import Change, Outcome, Progress
from slipway.engine.planner import Planner
from slipway.engine.remote_shell import Question
from slipway.settings import limits

# How long the end of an interrupted apply may take.
INTERRUPTED_SECONDS = 2
# Between two reports of a running operation.
BEAT_SECONDS = 1
# Smaller uploads are done at once.
MIN_TOLD_BYTES = 2**20
# MongoDB alone allocates files of 100 MB at its start.
FULL_MB = 200
VERBS = {"deploy.py": "apply", "release.py": "release", "rollback.py": "rollback"}
# Shown of a failed command: lines of output, characters of the command.
LINES_SHOWN, COMMAND_SHOWN = 30, 300


class Interrupted(KeyboardInterrupt):
    """An apply that the user ended; `str()` says what its hosts are still at."""

    def __init__(self, at_work: Mapping[str, str]) -> None:
        """`at_work` are the operations that run, by the host's name."""
        super().__init__("\n".join(f"  [{host}] may go on with: {name}" for host, name in at_work.items()))


class Executor:
    """Carries out a plan."""

    def __init__(self, planner: Planner) -> None:
        self.planner, self.connections = planner, planner.connections
        self.state = planner.state
        # The operations that run, by the host's name.
        self._at_work: dict[str, str] = {}
        self._is_interrupted = False
        self.verb = VERBS.get(self.connections.deploy, "ask")

    def apply(self, tell: Progress) -> Outcome:
        """Carry out the plan. A host stops at its first failure, the others continue. Raises ApplyFailed."""
        hosts = self.connections
        began = time.monotonic()
        self.planner.run.notes = {key: notes for key, notes in self.planner.run.notes.items() if key[1] is None}
        done: list[Change] = []
        with failing(hosts.log):
            self.state.set_stage(StateStage.Execute)
            self.state.is_executing = True
            self._lock()
            # The confirmation may have taken a while.
            pyinfra_compat.forget_all(self.state)
            order = self.state.get_op_order()
            for host in hosts.active_hosts():
                if isinstance(host.connector, Connector):
                    host.connector.batches.ahead = partial(self._ahead, host, order)
            try:
                for op_hash in order:
                    self._run(op_hash, tell, done)
            except KeyboardInterrupt:
                self._is_interrupted = True
                raise Interrupted(self._at_work) from None
            finally:
                self._unlock(done, time.monotonic() - began)
        outcome = self.planner.outcome(done, began)
        if hosts.failures:
            raise ApplyFailed(outcome)
        return outcome

    def carry_out(self, verb: str, script: Callable[[Host], str]) -> None:
        """Run a script on each host as root, under the lock, and record it in the host's log. Raises RunFailed."""
        hosts = self.connections
        with self.locked(verb) as done:
            # An answer is what a script prints; why it failed is among its errors.
            for connector, answer in hosts.by_root(lambda host: f"exec 2>&1\n{script(host)}"):
                if answer.code:
                    hosts.fail(connector.host, f"[{connector.host.name}] {answer.output.strip()}")
                else:
                    done.append(Change(connector.host.name, verb))
        if hosts.failures:
            raise RunFailed("\n".join(hosts.failures.values()))

    @contextmanager
    def locked(self, verb: str) -> Iterator[list[Change]]:
        """Hold the lock of each host, and record what became of it, and of the changes that the block adds. Raises
        RunFailed."""
        began, self.verb = time.monotonic(), verb
        done: list[Change] = []
        with failing(self.connections.log):
            self._lock()
            try:
                yield done
            except KeyboardInterrupt:
                self._is_interrupted = True
                raise
            finally:
                self._unlock(done, time.monotonic() - began)

    def record_nothing(self, seconds: float) -> None:
        """Record in the hosts' logs that an apply found nothing to change."""
        self.connections.by_root(lock.note(self.verb, version("slipway"), "nothing to change", 0, seconds))

    def _lock(self) -> None:
        """Raises RunFailed if a host is locked by somebody else."""
        hosts = self.connections
        script = lock.take(lock.who(), lock.now(), f"slipway {self.verb} {hosts.environment}")
        held = [
            f"[{connector.host.name}] locked by {answer.output.strip()}"
            for connector, answer in hosts.by_root(script)
            if answer.code
        ]
        if held:
            hosts.by_root(lock.release())
            hint = "nothing was changed; a lock is gone as soon as its holder is: try again then"
            raise RunFailed("\n".join([*held, hint]))
        for connector in hosts.connectors():
            connector.may_reconnect = False

    def _unlock(self, done: list[Change], seconds: float) -> None:
        for connector in self.connections.connectors(failed=True):
            name = connector.host.name
            changed = len([change for change in done if change.host == name])
            result = "failed" if name in self.connections.failures else "done"
            result = "interrupted" if self._is_interrupted else result
            # A host that has fallen silent keeps nobody who wants to leave.
            patience = gevent.Timeout(INTERRUPTED_SECONDS if self._is_interrupted else None, False)
            line = lock.note(self.verb, version("slipway"), result, changed, seconds)
            # A host that was cut off has its error already.
            with suppress(HostFailed, SSHException, OSError), patience:
                if connector.is_open:
                    connector.by_root(f"{line}\n{lock.release()}")
                else:
                    sudo, seconds = connector.host.data.get("_sudo"), limits.of_host(connector.host).last_words
                    connector.host.run_shell_command(line, _sudo=sudo, _timeout=seconds)

    def _ahead(self, host: Host, order: list[str]) -> list[Question]:
        """The queries of the operations from the current one up to the next that is expected to change something."""
        questions: list[Question] = []
        assert isinstance(host.connector, Connector)
        for op_hash in order[order.index(str(host.executing_op_hash)) :]:
            questions += host.connector.asked_by.get(op_hash, {})
            operation = self.state.ops[host].get(op_hash)
            if operation and operation.operation_meta._maybe_is_change:
                break
        return questions

    def _run(self, op_hash: str, tell: Progress, done: list[Change]) -> None:
        """Run an operation on all hosts that have it, concurrently unless its arguments limit that."""
        hosts = [host for host in self.connections.active_hosts() if op_hash in self.state.ops[host]]
        arguments = self.state.get_op_meta(op_hash).global_arguments
        at_once = 1 if arguments["_serial"] else arguments["_parallel"] or len(hosts) or 1
        for first in range(0, len(hosts), at_once):
            running = [gevent.spawn(self._run_on, host, op_hash, tell, done) for host in hosts[first : first + at_once]]
            try:
                gevent.joinall(running, raise_error=True)
            except BaseException:
                # They must not take the end of their connections for a failure.
                gevent.killall(running)
                raise

    def _run_on(self, host: Host, op_hash: str, tell: Progress, done: list[Change]) -> None:
        name, began = self.planner.name_of(op_hash), time.monotonic()
        operation = self.state.ops[host][op_hash]
        tell(host.name, name, "running", 0)
        self._at_work[host.name] = name
        error: Exception | None = None
        beating = gevent.spawn(_beat, host, name, tell, began)
        with pyinfra_compat.using(self.state, host):
            try:
                succeeded = run_host_op(self.state, host, op_hash)
            except (PyinfraError, SSHException, OSError, TimeoutError) as caught:
                succeeded, error = False, caught
            finally:
                beating.kill()
        del self._at_work[host.name]
        seconds = time.monotonic() - began
        if not succeeded:
            tell(host.name, name, "failed", seconds)
            self._tell_full_disks(host)
            self.connections.fail(host, self._where(host, op_hash, error, done))
            return
        changed = operation.operation_meta.did_change()
        if changed:
            done.append(self.planner.change(host, op_hash))
        tell(host.name, name, "changed" if changed else "ok", seconds)

    def _where(self, host: Host, op_hash: str, error: Exception | None, done: list[Change]) -> str:
        """The error report of a host: operation, command, output, and progress."""
        order = [one for one in self.state.get_op_order() if one in self.state.ops[host]]
        before, changed = order.index(op_hash), sum(change.host == host.name for change in done)
        lines = [f"{host.name} failed at: {self.planner.name_of(op_hash)}"]
        said = [line for line in self.connections.log.take(host.name) if not line.startswith("Error: executed ")]
        said += [str(error)] if error else []
        said = list(dict.fromkeys(said))
        commands = self.state.ops[host][op_hash].operation_meta._commands
        # The message about a time limit says enough about a command that exceeded it.
        is_late = any("on a slow host raise " in line for line in said)
        command = str(commands[-1]).strip() if commands and isinstance(commands[-1], StringCommand) else ""
        # A script of Slipway's is nobody's to type.
        if 0 < len(command) <= COMMAND_SHOWN and "\n" not in command and not error and not is_late:
            lines.append(f"  command: {command}")
        left_out = len(said) - LINES_SHOWN
        said = [f"... {left_out} lines left out", *said[-LINES_SHOWN:]] if left_out > 0 else said
        lines += [f"  | {line}" for line in said]
        return "\n".join(
            [
                *lines,
                f"  {before} of {len(order)} operations completed ({changed} changed something), this one"
                f" may be incomplete, {len(order) - before - 1} were not reached",
                "  run it again to resume",
            ]
        )

    def _tell_full_disks(self, host: Host) -> None:
        """Report full disks of a failed host: a service that failed because of one may not have said so."""
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
                self.connections.log.lines.append(
                    f"[{host.name}] No space left on device, or almost: {free} on {target}"
                )


def _beat(host: Host, name: str, tell: Progress, began: float) -> None:
    """Report a running operation, and its upload."""
    while True:
        gevent.sleep(BEAT_SECONDS)
        sent, whole = getattr(host.connector, "uploaded", (0, 0))
        how_far = f" ({sent // 2**20} of {-(-whole // 2**20)} MiB sent)" if whole >= MIN_TOLD_BYTES else ""
        tell(host.name, f"{name}{how_far}", "running", time.monotonic() - began)
