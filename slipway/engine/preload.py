"""Imports what a plan needs while the ssh handshakes wait.

By name: these modules import the engine, and not the other way round.
"""

from __future__ import annotations

import pkgutil
from collections import deque
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from slipway.engine import components
from slipway.engine.errors import in_words

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
        yield from load_tasks()
        for name, function in SLOW:
            module: Any = import_module(name)
            yield name
            if function:
                yield from getattr(module, function)()
    except Exception:
        return


def known_components() -> list[str]:
    """The names of all components. Raises RunFailed if a module of tasks/ has a mistake."""
    with in_words():
        deque(load_tasks(), maxlen=0)
    return sorted(components.names)


def load_tasks() -> Iterator[str]:
    package = import_module("slipway.tasks")
    for module in pkgutil.iter_modules(package.__path__):
        yield import_module(f"{package.__name__}.{module.name}").__name__
