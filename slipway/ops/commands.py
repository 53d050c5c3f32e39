"""Commands that an operation yields, and one for what has neither a file nor an operation of its own."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from slipway.engine import notes
from slipway.facts.base import Output

Commands = Generator[StringCommand | FunctionCommand | str, None, None]


@operation()
def ensure(check: str, command: str, note: str | None = None) -> Commands:
    """Run `command` where the read-only shell test `check` fails. For what has neither a file nor an operation.

    What it makes has the usual modes, whatever umask a login has.
    """
    if host.get_fact(Output, command=f"if {{ {check}; }} >/dev/null; then echo yes; fi").strip() == "yes":
        return
    notes.note(note or f"failed check: {check}")
    yield f"umask 022; {command}"
