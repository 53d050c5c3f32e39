"""Waiting for one's turn at something of this machine: hosts of one run are greenlets of one thread, and other runs are
other processes."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.02


@contextmanager
def turn(opened: int) -> Iterator[None]:
    """Hold the lock of an open file or folder, by its descriptor. Raises OSError where its file system has none."""
    # Blocking in the kernel would stop the other greenlets, too.
    while not _locked(opened):
        time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        # Explicitly, as gevent delays a close.
        fcntl.flock(opened, fcntl.LOCK_UN)


def _locked(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
