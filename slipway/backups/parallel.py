"""Tasks for several repositories at once, and a limit of their time: one that does not answer holds up no other one.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from slipway.backups.host import Busy, Failed, end_on_signals

POLL_SECONDS = 0.1
# The exit codes of a task's process.
FAILED, BUSY = 1, 2
# A pipe has room for this without a reader.
MAX_SAID = 4000


@contextmanager
def limited(seconds: float, whose: str) -> Iterator[None]:
    """Raises Failed in what takes longer; not within another limit."""

    def stop(_number: int, _frame: object) -> None:
        raise Failed(f"{whose}: it was not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def at_once(tasks: Mapping[str, Callable[[], None]], pause: float) -> list[Failed]:
    """Run tasks at once, each in a process of its own, and return their failures. While the first run of one of them
    still goes on, the others run again, `pause` seconds after their end."""
    running: dict[str, tuple[int, int]] = {}
    failures: dict[str, Failed] = {}
    due: dict[str, float] = {}
    first = {*tasks}
    try:
        for name in tasks:
            running[name] = _started(tasks[name])
        while running:
            for name, (process, said) in [*running.items()]:
                if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    del running[name]
                    failures.pop(name, None)
                    if failure := _ended(process, said):
                        failures[name] = failure
                    first.discard(name)
                    due[name] = time.monotonic() + pause
            for name in tasks if first else ():
                if name not in running and time.monotonic() >= due[name]:
                    running[name] = _started(tasks[name])
            time.sleep(POLL_SECONDS)
    except BaseException:
        for process, said in running.values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
            _ended(process, said)
        raise
    return [failures[name] for name in tasks if name in failures]


def _started(task: Callable[[], None]) -> tuple[int, int]:
    """A task's process, and the file descriptor of what it says of its failure."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    if process := os.fork():
        os.close(writing)
        return process, reading
    code, said = FAILED, ""
    try:
        # A restore ignores signals.
        end_on_signals()
        task()
        code = 0
    except Failed as failure:
        code, said = BUSY if isinstance(failure, Busy) else FAILED, str(failure)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        # Never into the code of the parent.
        with suppress(OSError):
            os.write(writing, said.encode()[:MAX_SAID])
        sys.stdout.flush()
        os._exit(code)


def _ended(process: int, said: int) -> Failed | None:
    """The failure of a task's process, after its end."""
    with os.fdopen(said, encoding="utf-8", errors="replace") as reading:
        text = reading.read()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if not code:
        return None
    return (Busy if code == BUSY else Failed)(text or f"ended with {code}")
