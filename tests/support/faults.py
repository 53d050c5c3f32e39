"""Plants deliberate faults in a copy of the product, one at a time, and checks that an everyday test fails.

python -m support.faults [--list] [--no-host] [-j N] [NAME ...]      (make test-faults FAULTS="...")

tests/faults.toml describes the faults. A fault that no test catches is a missing test: the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from xml.etree import ElementTree

from jinja2 import Environment

from support.checkout import PROJECT, copy_checkout

FILE = PROJECT / "tests/faults.toml"
# Time limits of the tests that catch a fault: without a host, with one, and to end when interrupted.
UNIT_SECONDS, HOST_SECONDS, END_SECONDS = 180, 1800, 120
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short", "-m", "not thorough"]


# Removes the remains of a killed run; any other takes its lab down itself.
LAB_DOWN = """
import os, pathlib
from support.lab_host import LAB, LabHost
state = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state")
for lab in state.glob(f"slipway/{LAB}*"):
    done = LabHost("any", lab.name).slipway("lab", "down", "--all")
    assert done.returncode == 0, done.stderr
"""


@dataclass(frozen=True)
class Fault:
    """One small change to the product."""

    name: str
    file: str
    find: str
    replace: str
    # pytest's arguments: paths or node ids of everyday tests, perhaps with -k.
    caught_by: str
    # What a user would lose.
    why: str
    count: int = 1
    # Whether the tests that catch it need a host.
    host: bool = False
    # Whether it may already fail the test's setup: a host that can't be provisioned, say.
    in_setup: bool = False

    def planted(self, text: str) -> str:
        """The text of its file with the fault. Raises ValueError where it does not fit the file any more."""
        found = text.count(self.find)
        if found != self.count:
            raise ValueError(f"{self.file}: found {found} of the text to replace, expected {self.count}")
        changed = text.replace(self.find, self.replace)
        if changed == text:
            raise ValueError(f"{self.file}: the replacement changes nothing")
        if self.file.endswith(".py"):
            compile(changed, self.file, "exec")
        elif self.file.startswith("templates/"):
            Environment().parse(changed)
        return changed


@dataclass
class Result:
    fault: Fault
    # The test that failed, "" if none did; and why not.
    test: str
    seconds: float
    reason: str = ""


def load(file: Path = FILE) -> list[Fault]:
    """All faults. Raises TypeError for a key that is missing or unknown."""
    return [Fault(**described) for described in tomllib.loads(file.read_text())["fault"]]


def paths(caught_by: str) -> list[str]:
    """The files of a selection."""
    words = shlex.split(caught_by)
    return [word.partition("::")[0] for word in words if word.startswith("tests/")]


# --- A copy of the checkout ------------------------------------------------------------------------------------------


class Copy:
    """The checkout as it is in the working tree, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Imports come from the copy, whatever is installed; bytecode could be older than the fault.
        self.env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
        self.running: subprocess.Popen[str] | None = None
        self.is_ended = False

    def make(self) -> None:
        copy_checkout(self.folder)

    @contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        path = self.folder / fault.file
        text = path.read_text()
        path.write_text(fault.planted(text))
        try:
            yield
        finally:
            path.write_text(text)

    def pytest(self, *words: str, seconds: float) -> tuple[int | None, str]:
        """Run pytest; returns its exit code, None where it did not end in time, and what it printed."""
        process = subprocess.Popen(
            [*PYTEST, *words],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.running = process
        try:
            output = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            self.stop()
            return None, ""
        finally:
            self.running = None
        return process.returncode, output

    def end(self) -> None:
        """Start no more tests."""
        self.is_ended = True
        self.stop()

    def stop(self) -> None:
        """Interrupt the running tests: they take their hosts down themselves, given the time."""
        process = self.running
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)

    def take_lab_down(self) -> None:
        """Remove what is left of the copy's own lab."""
        env = {**self.env, "PYTHONPATH": f"{self.folder}:{self.folder / 'tests'}"}
        command = [sys.executable, "-c", LAB_DOWN]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"the copy's lab may be there still: {done.stderr.strip()}", file=sys.stderr)


# --- A fault ---------------------------------------------------------------------------------------------------------


def try_out(fault: Fault, copy: Copy) -> Result:
    """Plant a fault and run the tests that are to catch it."""
    began = time.monotonic()
    junit = copy.folder.parent / f"{copy.folder.name}.xml"
    junit.unlink(missing_ok=True)
    try:
        with copy.planted(fault):
            limit = HOST_SECONDS if fault.host else UNIT_SECONDS
            code, output = copy.pytest(*shlex.split(fault.caught_by), f"--junitxml={junit}", seconds=limit)
    except (ValueError, SyntaxError, OSError) as error:
        return Result(fault, "", 0, f"the fault can't be planted: {error}")
    seconds = time.monotonic() - began
    if code == 0:
        return Result(fault, "", seconds, "the tests pass with it")
    red = failing(junit, ("failure", "error") if fault.in_setup else ("failure",)) if code == 1 else []
    if red:
        return Result(fault, red[0], seconds)
    why = {None: "the tests do not end", 1: "a test failed before it began"}.get(code, f"pytest ended with {code}")
    return Result(fault, "", seconds, f"{why}\n{output[-2000:]}".strip())


def failing(junit: Path, kinds: tuple[str, ...]) -> list[str]:
    """The tests that failed ("failure"), or whose setup did ("error")."""
    cases = ElementTree.parse(junit).iter("testcase")
    return [str(case.get("name")) for case in cases if any(case.find(kind) is not None for kind in kinds)]


def check_green(faults: list[Fault], copy: Copy, workers: int = 1) -> str:
    """Without a fault the tests must pass, or they would catch anything; returns what does not. All tests of their
    files in one run: that is less work than a start for each selection."""
    files = [*dict.fromkeys(path for fault in faults for path in paths(fault.caught_by))]
    side_by_side = ["-n", str(workers)] if workers > 1 else []
    code, output = copy.pytest(*side_by_side, *files, seconds=10 * UNIT_SECONDS) if files else (0, "")
    return "" if code == 0 else f"without a fault these tests already fail: {shlex.join(files)}\n{output[-3000:]}"


def run(faults: list[Fault], copies: list[Copy], tell: Callable[[Result], None]) -> None:
    """Try all faults in parallel, one per copy: first those that need no host."""
    waiting: SimpleQueue[Fault] = SimpleQueue()
    for fault in sorted(faults, key=lambda fault: fault.host):
        waiting.put(fault)

    def work(copy: Copy) -> None:
        with suppress(Empty):
            while not copy.is_ended:
                tell(try_out(waiting.get_nowait(), copy))

    threads = [threading.Thread(target=work, args=[copy], daemon=True) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- The command -----------------------------------------------------------------------------------------------------


def chosen(faults: list[Fault], names: Iterable[str], no_host: bool) -> list[Fault]:
    """The faults whose name contains one of these texts; all if none is given."""
    names = [name.lower() for name in names]
    found = [fault for fault in faults if not names or any(name in fault.name.lower() for name in names)]
    return [fault for fault in found if not (no_host and fault.host)]


def table(results: list[Result]) -> str:
    """One line a fault, in Markdown."""
    rows = [f"| {one.fault.name} | {one.test or 'NOT CAUGHT'} | {one.seconds:.1f} |" for one in results]
    return "\n".join(["| fault | caught by | seconds |", "| --- | --- | --- |", *rows])


def main() -> int:
    parser = argparse.ArgumentParser(prog="support.faults", description="Plant faults; a test must catch each.")
    parser.add_argument("names", nargs="*", help="only faults with this in their name")
    parser.add_argument("--list", action="store_true", help="show the faults, and run nothing")
    parser.add_argument("--no-host", action="store_true", help="only faults that tests without a host catch")
    parser.add_argument("-j", type=int, default=1, metavar="N", help="so many side by side")
    options = parser.parse_args()
    faults = chosen(load(), options.names, options.no_host)
    if options.list or not faults:
        print("\n".join(f"{fault.name}{' (host)' if fault.host else ''}\n    {fault.caught_by}" for fault in faults))
        return 0 if faults else 1

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, results, talking = time.monotonic(), [], threading.Lock()

    def tell(result: Result) -> None:
        if any(copy.is_ended for copy in copies):
            return
        with talking:
            results.append(result)
            mark = "caught    " if result.test else "NOT CAUGHT"
            print(f"{mark}  {result.seconds:6.1f} s  {result.fault.name}: {result.test or result.reason}", flush=True)

    folder = Path(tempfile.mkdtemp(prefix="slipway-faults-"))
    copies: list[Copy] = []
    try:
        for number in range(max(1, options.j)):
            copies.append(Copy(folder / f"copy{number}"))
            copies[-1].make()
        if red := check_green([fault for fault in faults if not fault.host], copies[0], options.j):
            print(red, file=sys.stderr)
            return 1
        run(faults, copies, tell)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        for copy in copies:
            copy.end()
            if any(fault.host for fault in faults):
                copy.take_lab_down()
        shutil.rmtree(folder, ignore_errors=True)
    missed = [result for result in results if not result.test]
    print(
        f"\n{table(results)}\n\n{len(results) - len(missed)} of {len(results)} caught, {time.monotonic() - began:.0f} s"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
