"""A traceback as one line: the place in the project, or else in Slipway, and what went wrong there."""

from __future__ import annotations

import traceback

from slipway.project import PACKAGE, shown


def in_one_line(error: Exception) -> str:
    """`tasks/motd.py, line 3: NameError: name 'x' is not defined: x()`."""
    if isinstance(error, SyntaxError):
        file, line, text, what = error.filename, error.lineno, (error.text or "").strip(), error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # An installed Slipway is in site-packages, too.
        ours = [one for one in frames if "site-packages" not in one.filename or one.filename.startswith(f"{PACKAGE}/")]
        # A module that is not there: the last frames are Python's import system.
        frame = [one for one in ours or frames if not one.filename.startswith("<frozen ")][-1]
        file, line, text, what = frame.filename, frame.lineno, str(frame.line), f"{type(error).__name__}: {error}"
    return f"{shown(file)}, line {line}: {what}: {text}"
