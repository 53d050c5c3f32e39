"""Imports what a plan needs while the ssh handshakes wait.

By name: these modules import the engine, and not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pyinfra.api.exceptions import PyinfraError

from slipway.engine.deployed import FIXED, TASKS, named
from slipway.engine.errors import RunFailed, in_words

# Modules, each with its slow function to call; "" for none.
SLOW = (
    ("slipway.ops.templates", "load_templates"),
    ("slipway.ui.plan_report", "prepare"),
    ("rich.console", ""),
    ("rich.markup", ""),
)


def preload() -> Iterator[str]:
    """Import one thing per step. Errors are ignored: they recur, and are reported, at first use."""
    try:
        for name in (*FIXED, *named()):
            yield import_module(f"{TASKS}.{name}").__name__
        for name, function in SLOW:
            module: Any = import_module(name)
            yield name
            if function:
                yield from getattr(module, function)()
    except Exception:
        return


def known_components() -> list[str]:
    """The names of all components of a server. Raises RunFailed where deploy.py does not tell them."""
    try:
        with in_words():
            return sorted([*FIXED, *named()])
    except PyinfraError as error:
        raise RunFailed(str(error)) from None
