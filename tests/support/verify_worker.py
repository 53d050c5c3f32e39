"""Verifies the lab's host over and over, as `slipway verify lab` does: `python verify_worker.py`.

Each line on standard input asks for a run; each line of output is one: the tests that failed, with the reason, as
a JSON list. A run is a fork of a process that has imported everything: it starts in no time, and with no connection.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


class Failures:
    """A plug-in of pytest that collects what failed."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.names.append(f"{report.nodeid.rpartition('/')[2]}: {crash.message if crash else report.longrepr}")


def run() -> list[str]:
    from slipway.cli.verify import arguments
    from slipway.engine.session import Session

    failures = Failures()
    code = pytest.main([*arguments(Session("lab", "deploy.py")), "-q"], plugins=[failures])
    return failures.names or ([f"pytest ended with {code!r}"] if code else [])


def main() -> None:
    os.chdir(PROJECT)
    sys.path.append(str(PROJECT))
    import slipway.server_tests.plugin  # noqa: F401  what takes long to import

    for _ in sys.stdin:
        with tempfile.NamedTemporaryFile("w+") as answer:
            child = os.fork()
            if not child:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
                json.dump(run(), answer)
                answer.flush()
                os._exit(0)
            os.waitpid(child, 0)
            answer.seek(0)
            print(answer.read() or json.dumps(["the run ended without an answer"]), flush=True)


if __name__ == "__main__":
    main()
