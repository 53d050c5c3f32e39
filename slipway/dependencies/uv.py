"""uv, which resolves dependencies here and installs them on the server: https://docs.astral.sh/uv/

One version on both: the wheel that the server fetches is one of those in requirements.lock (a test compares them).
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
# Of every call: the system's trust, a company's own authority included, and no configuration that is not asked for.
OPTIONS = ("--system-certs", "--no-progress", "--color", "never")


class UvFailed(Exception):
    """`str()` is what uv has said."""


def is_unsatisfiable(said: str) -> bool:
    """Whether uv has found that there is no solution; else it could not look for one, without a network say."""
    return "No solution found" in said and "not found in the cache" not in said


@cache
def has_python(minor: str) -> bool:
    """Whether uv knows where to get a version of Python as "3.12"; "" is for none."""
    words = ("python", "list", "--only-downloads", "--all-platforms", "--offline", minor)
    return not minor or "linux-x86_64-gnu" in run(words, Path("/"))


def run(arguments: Sequence[str], folder: Path, others: Sequence[Index] = ()) -> str:
    """The output of uv in a folder; packages are looked for in `others` before PyPI. Raises UvFailed."""
    # It resolves for the server's Python and runs none of this machine's but our own.
    env = {**os.environ, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}
    env |= indexes.variables(others)
    command = [find_uv_bin(), *OPTIONS, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UvFailed(done.stderr.strip())
    return done.stdout
