"""A user at a terminal, who answers a program's questions by Enter where there is a default."""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# As click asks: "Folder of the backend (backend_source) [backend]: ".
QUESTION = re.compile(r"\((\w+)\)( \[[^\]\n]*\])?: $")
# Only ends a hang, in seconds.
TIMEOUT = 1800


class Stuck(Exception):
    """The program asked a question without an answer, or failed; `str()` is its output."""


def typed(
    command: Sequence[str], folder: Path, env: Mapping[str, str], answers: Mapping[str, str]
) -> tuple[str, list[str]]:
    """The output of a command on a terminal, and the settings that it asked for. `answers` are for questions that
    Enter does not answer. Raises Stuck."""
    ours, its = os.openpty()
    program = subprocess.Popen(command, cwd=folder, env=env, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    said, end, asked = "", 0, list[str]()
    try:
        while part := _read(ours):
            said += part
            if question := QUESTION.search(said[end:]):
                name, default = question.groups()
                if name in asked or not (default or name in answers):
                    raise Stuck(said)
                asked.append(name)
                end = len(said)
                os.write(ours, f"{'' if default else answers[name]}\n".encode())
        if program.wait():
            raise Stuck(said)
    finally:
        program.kill()
        program.wait()
        os.close(ours)
    return said, asked


def _read(terminal: int) -> str:
    """The next part, "" at the end. Raises Stuck."""
    if not select.select([terminal], [], [], TIMEOUT)[0]:
        raise Stuck(f"nothing within {TIMEOUT} s")
    try:
        return os.read(terminal, 65536).decode(errors="replace").replace("\r\n", "\n")
    except OSError:
        # Linux: the other end is closed.
        return ""
