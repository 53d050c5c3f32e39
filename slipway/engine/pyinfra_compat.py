"""Everything that depends on pyinfra's internals, for which pyinfra is pinned to 3.10.

`pyinfra_cli` is no public API, and neither are the parts of `pyinfra.api` that this module changes while Slipway runs.
Plain pyinfra never loads it.
"""

# ruff: noqa: E402  modules are kept out before others are imported
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import cache
from importlib import import_module, metadata
from types import FrameType, ModuleType
from typing import Any

# paramiko imports invoke for `Match exec` in ssh's configuration; it is slow to import.
sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
# typeguard, which pyinfra uses, imports unittest.mock, and with it asyncio.
_no_mock: Any = ModuleType("unittest.mock")
_no_mock.Mock, _no_mock.patch = type("Mock", (), {}), None


class _Later:
    """A class of a module that is slow to import, which is imported when the class is first called."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *given: Any, **named: Any) -> Any:
        named = {name: value.found() if isinstance(value, _Later) else value for name, value in named.items()}
        return self.found()(*given, **named)

    def found(self) -> Any:
        return getattr(import_module(self._module), self._name)


# What pyinfra imports for its own templates and for its check of versions: a host is connected meanwhile.
_stand_ins = {"unittest.mock": _no_mock}
for _name, _classes in {
    "jinja2": ("Environment", "FileSystemLoader", "StrictUndefined", "Template"),
    "packaging.markers": ("Marker",),
    "packaging.requirements": ("Requirement",),
    "packaging.specifiers": ("SpecifierSet",),
    "packaging.version": ("Version",),
}.items():
    _stand_ins[_name] = ModuleType(_name)
    vars(_stand_ins[_name]).update({one: _Later(_name, one) for one in _classes})
_stand_ins = {name: module for name, module in _stand_ins.items() if sys.modules.setdefault(name, module) is module}
# gevent, pydantic and pyinfra look for plug-ins in every installed package, gevent at each patch: once is enough.
metadata.entry_points = metadata.entry_points().select

import pyinfra
import pyinfra_cli  # noqa: F401  patches the standard library for gevent, before anything else is imported
from gevent.local import local
from pyinfra.api import FunctionCommand, Host, Inventory, State, arguments, facts
from pyinfra.api.exceptions import ArgumentTypeError, PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import HostData
from pyinfra.api.operation import OperationMeta
from pyinfra.api.util import PYINFRA_INSTALL_DIR, raise_if_bad_type
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli import inventory
from pyinfra_cli.exceptions import UnexpectedExternalError
from pyinfra_cli.inventory import _get_imported_names, _is_inventory_group, make_inventory
from pyinfra_cli.util import exec_file

from slipway.engine.batching import Batches

for _name in _stand_ins:
    del sys.modules[_name]

__all__ = [
    "UnexpectedExternalError",
    "ctx_config",
    "ctx_inventory",
    "ctx_state",
    "evaluate",
    "exec_file",
    "expected_changes",
    "fact_at_hand",
    "forget_all",
    "load_inventory",
    "may_be_remembered",
    "order_of_operation",
    "prepare",
    "script_of",
    "using",
]

_here = local()
# pyinfra recomputes their types for each operation and each fact.
arguments.all_global_arguments = facts.all_global_arguments = cache(arguments.all_global_arguments)


def prepare() -> None:
    """Patch pyinfra as `Session` needs it. Idempotent."""
    # A new cache: files of group_data may have changed; pyinfra parses one anew for each setting in it.
    inventory._get_imported_names = cache(_get_imported_names)
    HostData.__getattr__ = _data_of_host  # type: ignore[method-assign]
    if facts._get_fact is not _get_fact_told:
        facts._get_fact = _get_fact_told  # type: ignore[assignment]
        FunctionCommand.execute = _execute_knowing_nothing  # type: ignore[assignment,method-assign]
        # An import statement would give the decorator, which pyinfra.api has under the same name.
        module: Any = import_module("pyinfra.api.operation")
        module.get_operation_order_from_stack = order_of_operation
        users: list[Any] = [module, facts, import_module("pyinfra.api.deploy")]
        for user in users:
            user.pop_global_arguments = pop_global_arguments
        for name in ("in_op", "current_op_hash", "current_op_global_arguments", "current_op_deploy_data"):
            setattr(Host, name, _OfOperation(name, getattr(Host, name)))


def load_inventory(file: str, data: dict[str, Any], cwd: str, check: Callable[[dict[str, Any]], None]) -> Inventory:
    """Load pyinfra's inventory from a file; `data` overrides all other data. `check` gets the file's top-level names
    before pyinfra turns them into groups."""

    def groups(filename: str) -> dict[str, Any]:
        names = exec_file(filename, return_locals=True)
        check(names)
        return {name: value for name, value in names.items() if _is_inventory_group(name, value)}

    inventory._get_groups_from_filename = groups
    return make_inventory(file, override_data=data, cwd=cwd)


def _data_of_host(self: HostData, key: str) -> Any:
    """pyinfra's `HostData.__getattr__` with the inventory's data merged once.

    pyinfra merges them anew for each of the global arguments of each operation.
    """
    for found in _sources(self):
        if key in found:
            return copy(found[key])
    raise AttributeError(f"Host `{self.host}` has no data `{key}`")


def _sources(data: HostData) -> Iterator[dict[str, Any]]:
    """The data of a host, the strongest first."""
    own, *given, of_deploy = data.datas
    merged = data.__dict__.get("_merged")
    if merged is None:
        merged = data.__dict__["_merged"] = {}
        for one in reversed(given):
            merged |= one()
    yield own
    yield merged
    yield of_deploy()


def pop_global_arguments(state: State, host: Host, kwargs: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """pyinfra's `pop_global_arguments`, which asks the host's data for each of the 32 arguments, and raises and catches
    an error for each that is not there: a third of the time that a plan takes to compare a host."""
    config = ctx_config.get() if ctx_config.isset() else state.config
    of_deploy: dict[str, Any] = host.current_deploy_kwargs or {}  # type: ignore[assignment]
    of_host: dict[str, Any] = {}
    for source in _sources(host.data):
        of_host = {**{key: source[key] for key in arguments.all_argument_meta.keys() & source.keys()}, **of_host}
    taken: dict[str, Any] = {}
    found_keys = []
    for key, type_ in arguments.all_global_arguments():
        meta = arguments.all_argument_meta[key]
        default = copy(of_host[key]) if key in of_host else meta.default(config)
        if key in kwargs:
            found_keys.append(key)
            value = kwargs.pop(key)
        else:
            value = of_deploy.get(key, default)
        if meta.handler:
            value = meta.handler(config, value)
        if value != default:
            raise_if_bad_type(value, type_, ArgumentTypeError, f"Invalid argument `{key}`:")
        taken[key] = value
    return taken, found_keys


# Facts read, everything else may change: the connector must know which of the two a command is for.
_get_fact = facts._get_fact


def _get_fact_told(state: State, host: Host, cls: type[FactBase[Any]], *rest: Any) -> Any:
    outer, _here.fact = fact_at_hand(), cls
    try:
        return _get_fact(state, host, cls, *rest)
    finally:
        _here.fact = outer


def fact_at_hand() -> type[FactBase[Any]] | None:
    """The fact that this greenlet is gathering, if any."""
    return getattr(_here, "fact", None)


def may_be_remembered(fact: type[FactBase[Any]]) -> bool:
    """Whether a fact's command contains no secret, so that it may be cached for the next run."""
    return bool(getattr(fact, "may_be_remembered", False))


def script_of(fact: type[FactBase[Any]]) -> str:
    """The script of a fact that can be gathered for several subjects at once (facts.base.OfSubjects), else ""."""
    return str(getattr(fact, "script", ""))


def forget_all(state: State) -> None:
    """Discard the answers of all hosts: a change may affect another host than its own."""
    for batches in _all_batches(state):
        batches.forget()


def _all_batches(state: State) -> list[Batches]:
    return [host.connector.batches for host in state.inventory if hasattr(host.connector, "batches")]


# A function of an operation may change anything at any time, even by another connection.
_execute = FunctionCommand.execute


def _execute_knowing_nothing(self: FunctionCommand, state: State, *rest: Any) -> Any:
    with ExitStack() as stack:
        for batches in _all_batches(state):
            stack.enter_context(batches.knowing_nothing())
        return _execute(self, state, *rest)


def order_of_operation(state: State) -> list[int]:
    """pyinfra's `get_operation_order_from_stack`: the line numbers from the deploy file to an operation.

    pyinfra looks up the source of each frame, which was a third of a plan's processor time.
    """
    frames: list[tuple[str, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    files = [file for file, _ in frames]
    deploy = state.current_deploy_filename
    start = files.index(deploy) if deploy in files else len(files) if deploy else 0
    lines = [line for file, line in frames[start:] if not file.startswith(PYINFRA_INSTALL_DIR)]
    return [state.current_op_file_number, *lines] if pyinfra.is_cli else lines


class _OfOperation:
    """An attribute of pyinfra's Host that belongs to the current operation.

    pyinfra has one at a time on each host; a plan has all of them, each in a greenlet that `evaluate` keeps apart.
    """

    def __init__(self, name: str, default: Any) -> None:
        self._name, self._default = name, default

    def __get__(self, host: Host | None, owner: type) -> Any:
        return self._values(host).get(self._name, self._default) if host else self._default

    def __set__(self, host: Host, value: Any) -> None:
        self._values(host)[self._name] = value

    @staticmethod
    def _values(host: Host) -> dict[str, Any]:
        at_hand, values = getattr(_here, "operation", (None, {}))
        return values if at_hand is host else host.__dict__


def evaluate(state: State, host: Host, op_hash: str) -> None:
    """Find out whether an operation would change anything, as pyinfra does: by its first command.

    Several greenlets may evaluate operations of one host concurrently.
    """
    operation = state.ops[host][op_hash]
    _here.operation = host, {"in_op": False}
    with using(state, host):
        try:
            operation.operation_meta._maybe_is_change = next(operation.command_generator(), None) is not None
        except PyinfraError:
            raise
        except Exception as error:
            unexpected: Any = UnexpectedExternalError(error, str(state.current_deploy_filename))
            unexpected.operation = ", ".join(sorted(state.op_meta[op_hash].names))
            raise unexpected from error


@contextmanager
def using(state: State, host: Host) -> Iterator[None]:
    """Set `pyinfra.host` for this greenlet."""
    with ctx_config.use(state.config.copy()), ctx_host.use(host):
        yield


@contextmanager
def expected_changes() -> Iterator[list[str]]:
    """Make `op.did_change()` answer, during a plan, whether the operation would change something.

    The hashes of operations that were asked and would change are added to the list.
    """
    original = OperationMeta.did_change
    found: list[str] = []

    def would_change(self: OperationMeta) -> bool:
        changes = original(self) if self.is_complete() else bool(self._maybe_is_change)
        if changes:
            found.append(self._hash)
        return changes

    OperationMeta.did_change = would_change  # type: ignore[method-assign]
    try:
        yield found
    finally:
        OperationMeta.did_change = original  # type: ignore[method-assign]
