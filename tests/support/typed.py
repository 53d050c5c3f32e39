"""`slipway` as it is typed, in a fork of a process that has imported it: the imports are most of a short command."""

from __future__ import annotations

import functools
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

# Only ends a hang, in seconds.
LIMIT = 60
LOADED = (
    "slipway.engine.pyinfra_compat",  # patches first
    *("slipway.engine.session", "slipway.lab.hosts", "slipway.releases.sources", "slipway.ops.templates"),
    *("slipway.starter.questions", "pytest"),
)
HERE = "here"
OF_PLANS = ("slipway.cli.plan", "slipway.ui.plan_report", "rich.console", "rich.markup")
PROJECT = Path(__file__).resolve().parents[2]


def slipway(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, limit: float = LIMIT, here: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `slipway ARGUMENTS` in a folder to its end, for `limit` seconds at most; its output is text, its input is
    empty. `here`: the folder is this checkout, whose components are imported beforehand, too."""
    with tempfile.TemporaryDirectory() as folder, _its_turn:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        asked = {"arguments": arguments, "cwd": str(cwd), "env": dict(env or os.environ), "limit": limit}
        server = _server(here)
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({**asked, "output": str(output), "errors": str(errors)}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(("slipway", *arguments), code, output.read_text(), errors.read_text())


def process() -> int:
    """The id of the process whose forks run commands in this checkout."""
    return _server(True).pid


# The server runs one command at a time.
_its_turn = threading.Lock()


@functools.cache
def _server(here: bool) -> subprocess.Popen[str]:
    """This process's own, which ends with it: its input ends then."""
    command = [sys.executable, __file__, *([HERE] if here else [])]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _load(here: bool) -> None:
    """Import what takes long, and depends neither on a terminal nor, unless it is this one, on a project."""
    for module in LOADED:
        import_module(module)
    if here:
        preload = import_module("slipway.engine.preload")
        for module in (*(f"slipway.tasks.{name}" for name in preload.known_components()), *OF_PLANS):
            import_module(module)


def _become(asked: dict[str, Any]) -> None:
    """Make this process the one that was asked for."""
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["output"], os.O_WRONLY | os.O_CREAT),
        (2, asked["errors"], os.O_WRONLY | os.O_CREAT),
    ):
        file = os.open(name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    # As `python -m` has it.
    sys.path[0] = asked["cwd"]
    sys.argv = ["slipway", *asked["arguments"]]
    signal.setitimer(signal.ITIMER_REAL, asked["limit"])
    runpy.run_module("slipway", run_name="__main__", alter_sys=True)


def _serve() -> None:
    from gevent import monkey

    _load(HERE in sys.argv)
    # A fork that collected what it has from here would copy all of it.
    gc.freeze()
    # gevent's own would start a loop in this process, which a fork can't use.
    fork, wait = monkey.get_original("os", "fork"), monkey.get_original("os", "waitpid")
    for line in sys.stdin:
        if not (process := fork()):
            _become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(wait(process, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
