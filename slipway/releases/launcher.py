#!/usr/bin/python3 -IS
"""Runs a command with a unit's credentials as environment variables: `/usr/lib/slipway/with-credentials COMMAND...`.

systemd puts each credential as a file into $CREDENTIALS_DIRECTORY, readable only by the unit's user. Each becomes an
environment variable of its name, byte for byte, and COMMAND replaces this process. So no secret is in a command line, a
unit or a world-readable file, and /proc/PID/environ is readable only by its owner, proc(5).

Slipway installs this file. Python's options in the first line ignore environment variables and installed packages. It
imports little, as it delays each start of a service.
"""

import os
import sys

FOLDER = "CREDENTIALS_DIRECTORY"


def variables(folder: str) -> dict[bytes, bytes]:
    """The credentials in a folder whose names are valid variable names."""
    found = {}
    for name in os.listdir(folder):
        if name.isidentifier() and name.isascii():
            with open(os.path.join(folder, name), "rb") as file:
                found[os.fsencode(name)] = file.read()
    return found


def resolved(program: str) -> str:
    """A program's path without links to folders: "current" leads to another release after a switch, and uvicorn starts
    a lost worker by the path that it was started by itself. The last link stays, as a virtual environment is one."""
    folder, name = os.path.split(program)
    return os.path.join(os.path.realpath(folder), name) if folder else program


def main(command: list[str]) -> None:
    """Never returns. Errors contain no values."""
    if not command:
        sys.exit("usage: with-credentials COMMAND [ARGUMENTS]")
    try:
        folder = os.environ.get(FOLDER)
        environment = {**os.environb, **(variables(folder) if folder else {})}
        program = resolved(command[0])
        os.execvpe(program, [program, *command[1:]], environment)  # noqa: S606  the command is the unit's
    except (OSError, ValueError) as error:
        sys.exit(f"with-credentials: {command[0]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
