"""The components of a server: each is a module of tasks/, whose operations bear its name in a plan, and which
`slipway plan --only nginx` looks at alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import ParamSpec

from pyinfra import host

P = ParamSpec("P")
# The component of what is in none.
OTHER = "other"
names: set[str] = set()
_chosen: Collection[str] = ()
# By host's name and operation's hash.
_components: dict[tuple[str, str], str] = {}


def choose(chosen: Collection[str]) -> None:
    """From now on run only these components; all where none is given."""
    global _chosen
    _chosen = chosen


def component(task: Callable[P, None]) -> Callable[P, None]:
    """A task of the component that is named as its module is."""
    name = task.__module__.rpartition(".")[2]
    names.add(name)

    @wraps(task)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if _chosen and name not in _chosen:
            return
        before = len(host.op_hash_order)
        try:
            task(*args, **kwargs)
        finally:
            _components.update({(host.name, op_hash): name for op_hash in host.op_hash_order[before:]})

    return run


def component_of(host_name: str, op_hash: str) -> str:
    """The component that an operation belongs to; OTHER for one of none."""
    return _components.get((host_name, op_hash), OTHER)
