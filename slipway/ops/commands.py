"""Commands that an operation yields, and one for what has neither a file nor an operation of its own."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from slipway.engine import notes
from slipway.facts.base import Output

Commands = Generator[StringCommand | FunctionCommand | str, None, None]


def checked(check: str, **final: str) -> str:
    """A line for `sh` that fails with `check`, and shows its output then. `final` are the names that files will have,
    by the one that they have for now, or a shell's variable with it: a user knows only those."""
    names = "; ".join(f"s#{now}#{name}#g" for now, name in final.items())
    return f'said=$( {{ {check}; }} 2>&1 ) || {{ printf "%s\\n" "$said" | sed "{names}" >&2; exit 1; }}'


@operation()
def ensure(check: str, command: str, note: str | None = None) -> Commands:
    """Run `command` where the read-only shell test `check` fails. For what has neither a file nor an operation.

    What it makes has the usual modes, whatever umask a login has.
    """
    if host.get_fact(Output, command=f"if {{ {check}; }} >/dev/null; then echo yes; fi").strip() == "yes":
        return
    notes.note(note or f"failed check: {check}")
    yield f"umask 022; {command}"
