"""Helpers for the commands that operations yield, and `ensure`, a general operation."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from slipway.engine import notes
from slipway.facts.base import Output

Commands = Generator[StringCommand | FunctionCommand | str, None, None]


def checked(check: str, **final: str) -> str:
    """A line for `sh` that fails if `check` does, and then prints its output. `final` maps a file's temporary name, or
    a shell variable that holds it, to its final name, which the output shows: users know only that one."""
    names = "; ".join(f"s#{now}#{name}#g" for now, name in final.items())
    return f'said=$( {{ {check}; }} 2>&1 ) || {{ printf "%s\\n" "$said" | sed "{names}" >&2; exit 1; }}'


@operation()
def ensure(check: str, command: str, note: str | None = None, seconds: int = 0) -> Commands:
    """Run `command` if the read-only shell test `check` fails. For states that neither a file nor another operation
    covers.

    The command runs with umask 022, whatever the login's umask is. `seconds` is its own time limit, if any.
    """
    if host.get_fact(Output, command=f"if {{ {check}; }} >/dev/null; then echo yes; fi").strip() == "yes":
        return
    notes.note(note or f"failed check: {check}")
    text = f"umask 022; {command}"
    yield StringCommand(text, _timeout=seconds) if seconds else text
