"""Searches on a host that end in time, whatever its disks hold.

For programs that are sent to the host: the standard library alone (facts.mongodb.alone).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

# Seconds: a disk may hold millions of files, and a mount may hang.
MAX_SEARCH = 20
MAX_FILE_BYTES = 2**20


class Search:
    """A search that has begun. It has a process of its own: nothing else ends the wait for a mount."""

    def __init__(self, find: Callable[..., Iterable[str]], *arguments: object) -> None:
        self.reading, writing = os.pipe()
        self.deadline = time.monotonic() + MAX_SEARCH
        self.process = os.fork()
        if not self.process:
            try:
                # Should it remain, nobody waits for its output.
                os.dup2(writing, 1)
                for line in find(*arguments):
                    os.write(writing, os.fsencode(line) + b"\0")
            finally:
                os._exit(0)
        os.close(writing)

    def lines(self) -> list[str]:
        """What it finds until its end or deadline."""
        found = b""
        while True:
            left = max(0, self.deadline - time.monotonic())
            if not left:
                # It is not waited for: one that waits for a mount may not end.
                os.kill(self.process, signal.SIGKILL)
            if select.select([self.reading], [], [], left)[0]:
                part = os.read(self.reading, 2**16)
                found += part
                if not part:
                    break
            elif not left:
                break
        os.close(self.reading)
        return [os.fsdecode(line) for line in found.split(b"\0")[:-1]]


def shown(*command: str, seconds: int = MAX_SEARCH) -> str:
    """What a command prints, "" if it is missing or late."""
    unheard = subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=unheard, stdout=subprocess.PIPE, stderr=unheard, timeout=seconds)
    except (OSError, subprocess.SubprocessError):
        return ""
    return os.fsdecode(done.stdout).strip("\n")


def succeeds(*command: str) -> bool:
    unheard = subprocess.DEVNULL
    with suppress(OSError):
        return subprocess.run(command, stdin=unheard, stdout=unheard, stderr=unheard).returncode == 0
    return False


def read(path: str) -> str:
    """The beginning of a file, with a line for each part between zeros; "" if there is none. A pipe or a device could
    make its reader wait."""
    with suppress(OSError):
        if os.path.isfile(path):
            with open(path, "rb") as opened:
                return os.fsdecode(opened.read(MAX_FILE_BYTES)).replace("\0", "\n")
    return ""


def below(
    places: Iterable[str], skipped: Collection[str] = (), last: Collection[str] = (), max_depth: int = sys.maxsize
) -> Iterator[os.DirEntry[str]]:
    """Everything below places, through no links but the places themselves. Leaves out what is named in `skipped`, and
    what is in folders named in `last`."""
    waiting = [(place, 1) for place in places if os.path.basename(place) not in skipped]
    while waiting:
        folder, depth = waiting.pop()
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in skipped:
                    continue
                if depth < max_depth and entry.is_dir(follow_symlinks=False) and entry.name not in last:
                    waiting.append((entry.path, depth + 1))
                yield entry


def listed(folder: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_file(follow_symlinks=False)
    return False


def state_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False)
    return None


def is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")
