"""Running the lab's commands: each has a step's name, each failure says which step, which command and how it ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import join

from rich.console import Console

TAIL_LINES = 20


class StepFailed(Exception):
    """A step that did not work; `str()` is what the user reads: step, command, exit code, end of the output."""

    def __init__(self, step: str, command: Sequence[str] = (), code: int | None = None, output: str = "") -> None:
        self.step, self.command, self.code = step, list(command), code
        lines = [f"{step}: failed"]
        if command:
            lines.append(f"  command: {join(command)}" + (f"  (exit code {code})" if code is not None else ""))
        lines += [f"  | {line}" for line in output.rstrip().splitlines()[-TAIL_LINES:]]
        super().__init__("\n".join(lines))


def run(
    step: str,
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
) -> str:
    """Standard output of `argv`; `env` is added to the environment, `timeout` is in seconds. Raises StepFailed."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise StepFailed(step, argv, None, f"there is no command {argv[0]!r} on this machine") from None
    except subprocess.TimeoutExpired as error:
        output = error.output or b""
        shown = output.decode(errors="replace") if isinstance(output, bytes) else output
        raise StepFailed(step, argv, None, f"{shown}\nno end within {timeout:g} s") from None
    if done.returncode != 0:
        raise StepFailed(step, argv, done.returncode, done.stdout + done.stderr)
    return done.stdout


class Progress:
    """Says each step with its duration as it ends, and the total."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        self.console.print(f"[green]✓[/] {text}" if not text.startswith(" ") else text)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        if self.console.is_terminal:
            self.console.print(f"  {name} ...", end="\r")
        yield
        self.console.print(f"[green]✓[/] {name:<50} {time.monotonic() - began:6.1f} s")

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began
