#!/usr/bin/python3 -IS
"""Runs a command with a unit's credentials as environment variables: `/usr/lib/slipway/with-credentials COMMAND...`.

systemd puts each of them as a file into $CREDENTIALS_DIRECTORY, for the unit's user alone. Here each becomes the
variable of its name, byte for byte, and COMMAND takes this process's place. So no secret is in a command line, a unit
or a file that others can read, and /proc/PID/environ can be read by its owner alone, proc(5).

Slipway installs this file. The options of Python, in the first line: read neither environment variables nor what is
installed on the host. Each start of a service waits for it, so that it imports next to nothing.
"""

import os
import sys

FOLDER = "CREDENTIALS_DIRECTORY"


def variables(folder: str) -> dict[bytes, bytes]:
    """The credentials in a folder that have a variable's name, by it."""
    found = {}
    for name in os.listdir(folder):
        if name.isidentifier() and name.isascii():
            with open(os.path.join(folder, name), "rb") as file:
                found[os.fsencode(name)] = file.read()
    return found


def main(command: list[str]) -> None:
    """Never returns. What goes wrong is told without any value."""
    if not command:
        sys.exit("usage: with-credentials COMMAND [ARGUMENTS]")
    try:
        folder = os.environ.get(FOLDER)
        environment = {**os.environb, **(variables(folder) if folder else {})}
        os.execvpe(command[0], command, environment)  # noqa: S606  the command is the unit's
    except (OSError, ValueError) as error:
        sys.exit(f"with-credentials: {command[0]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
