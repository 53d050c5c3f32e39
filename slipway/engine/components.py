"""The components of a server: each is a module of tasks/, whose operations bear its name in a plan, and which
`slipway plan --only nginx` looks at alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from pyinfra import host

from slipway.engine import run

P = ParamSpec("P")
# The component of what is in none.
OTHER = "other"
names: set[str] = set()


def component(task: Callable[P, None]) -> Callable[P, None]:
    """A task of the component that is named as its module is."""
    name = task.__module__.rpartition(".")[2]
    names.add(name)

    @wraps(task)
    def perform(*args: P.args, **kwargs: P.kwargs) -> None:
        current = run.of(host.state)
        if not current.wants(name):
            return
        before = len(host.op_hash_order)
        try:
            task(*args, **kwargs)
        finally:
            current.component_of.update({(host.name, op_hash): name for op_hash in host.op_hash_order[before:]})

    return perform
