"""uv, which resolves dependencies locally and installs them on the server: https://docs.astral.sh/uv/

Both use the same version: the server's wheel is one of those in requirements.lock (a test compares them).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from uv import find_uv_bin

from slipway.dependencies import indexes
from slipway.dependencies.indexes import Index

VERSION = "0.13.9"
# The wheel for Linux on x86_64, and the program in it. https://pypi.org/project/uv/#files
WHEEL_URL = (
    "https://files.pythonhosted.org/packages/3d/aa/26d64642d808de4a652579ef950d7cd2d37f080a8babf9c67c6b75fc4c3f"
    f"/uv-{VERSION}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
)
WHEEL_SHA256 = "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"
MEMBER = f"uv-{VERSION}.data/scripts/uv"
# Of the program, in bytes.
SIZE = 38_409_000
# For every call: the system's certificates, such as a company's own CA, and plain output.
OPTIONS = ("--system-certs", "--no-progress", "--color", "never")


class UvFailed(Exception):
    """`str()` is uv's error output."""


def is_unsatisfiable(said: str) -> bool:
    """Whether uv found no solution, rather than failed to look for one (no network)."""
    return "No solution found" in said and "not found in the cache" not in said


@cache
def has_python(minor: str) -> bool:
    """Whether uv can install a version of Python such as "3.12"; true for ""."""
    words = ("python", "list", "--only-downloads", "--all-platforms", "--offline", minor)
    return not minor or "linux-x86_64-gnu" in run(words, Path("/"))


def run(arguments: Sequence[str], folder: Path, others: Sequence[Index] = ()) -> str:
    """The output of uv in a folder; packages are looked for in `others` before PyPI. Raises UvFailed."""
    # uv resolves for the server's Python; locally it needs no other interpreter than this one.
    env = {**os.environ, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}
    env |= indexes.variables(others)
    command = [find_uv_bin(), *OPTIONS, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UvFailed(done.stderr.strip())
    return done.stdout
