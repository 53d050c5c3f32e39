"""Run the steps of the lab, show their duration, and report failures that a user can act on."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LINES_OF_OUTPUT_SHOWN = 20


class StepFailed(Exception):
    """A step of the lab failed. The user sees its text, without a traceback."""

    def __init__(
        self, step: str, why: str, *, argv: Sequence[str] = (), code: int | None = None, output: str = ""
    ) -> None:
        self.step, self.why, self.argv, self.code, self.output = step, why, tuple(argv), code, output
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"{self.step}: {self.why}"]
        if self.argv:
            lines.append(f"  command: {shlex.join(self.argv)}")
        lines += [f"  | {line}" for line in self.output.strip().splitlines()[-LINES_OF_OUTPUT_SHOWN:]]
        return "\n".join(lines)


def run(
    step: str,
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a command and return its standard output. `env` is added to our environment."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise StepFailed(step, f"{error.filename} does not exist", argv=argv) from error
    except subprocess.TimeoutExpired as error:
        seen = error.stderr or error.stdout or b""
        output = seen.decode(errors="replace") if isinstance(seen, bytes) else seen
        raise StepFailed(step, f"did not finish within {timeout:g} s", argv=argv, output=output) from error
    if done.returncode:
        why = f"exit code {done.returncode}"
        raise StepFailed(step, why, argv=argv, code=done.returncode, output=done.stdout + done.stderr)
    return done.stdout


def remove(path: Path) -> None:
    """Remove a file or folder recursively, but nothing that is mounted in it; a missing one is fine.

    Not shutil.rmtree: it opens a file descriptor for every folder, and gevent, a dependency of pyinfra, delays closing
    them, so that a large tree exceeds a process's limit (1,024 on a fresh Debian).
    """
    run(f"Remove {path}", ["rm", "-rf", "--one-file-system", str(path)])


class Progress:
    """One line per step with its duration: updated on a terminal, plain otherwise."""

    def __init__(self, console: Console | None = None) -> None:
        # `slipway plan` imports this module only for its error.
        from rich.console import Console

        # Standard error, so that the output of `lab ssh -- command` and `lab status --json` can be piped.
        self.console = console or Console(stderr=True, highlight=False)
        self.started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show the block as one step. Yields a function that adds a note to the title, such as "cached"."""
        notes: list[str] = []
        begin = time.monotonic()
        try:
            if self.console.is_terminal:
                with self.console.status(f"{title} ..."):
                    yield notes.append
            else:
                yield notes.append
        except BaseException:
            self._line("✗", title, notes, begin)
            raise
        self._line("✓", title, notes, begin)

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False, soft_wrap=True)

    def total(self, title: str) -> None:
        self._line("✓", title, [], self.started)

    def _line(self, mark: str, title: str, notes: Sequence[str], begin: float) -> None:
        note = f" ({', '.join(notes)})" if notes else ""
        self.console.print(f"{mark} {title}{note} {time.monotonic() - begin:.1f} s", markup=False, soft_wrap=True)
