"""Files that outlast a run: on the disk, and in /run while the disk can't be written.

A file system that is full or read-only must silence no alarm. Files in /run overlay those of the same name on the disk;
an empty one stands for a file that could not be removed there.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import os
from contextlib import suppress

# systemd makes both for the unit (templates/alarms).
STATE, RUN = "/var/lib/slipway/alarms", "/run/slipway-alarms"


def read(name: str) -> str:
    """The text of a file, "" if there is none."""
    for folder in (RUN, STATE):
        with suppress(OSError), open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    return ""


def store(name: str, text: str) -> str:
    """Write a file. Returns why it could not be written on the disk, "" if it was. Raises OSError if it is nowhere."""
    try:
        write(f"{STATE}/{name}", text)
    except OSError as error:
        write(f"{RUN}/{name}", text)
        return error.strerror or type(error).__name__
    with suppress(OSError):
        os.unlink(f"{RUN}/{name}")
    return ""


def remove(name: str) -> None:
    """Raises OSError if it will be found again."""
    try:
        os.unlink(f"{STATE}/{name}")
    except FileNotFoundError:
        pass
    except OSError:
        write(f"{RUN}/{name}", "")
        return
    with suppress(FileNotFoundError):
        os.unlink(f"{RUN}/{name}")


def names(folder: str) -> list[str]:
    """The files in a folder of both places, sorted."""
    found: set[str] = set()
    for place in (STATE, RUN):
        with suppress(OSError):
            found |= {f"{folder}/{name}" for name in os.listdir(f"{place}/{folder}") if name.endswith(".json")}
    return sorted(found)


def write(path: str, text: str) -> None:
    """Write a file atomically, readable only by root."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
