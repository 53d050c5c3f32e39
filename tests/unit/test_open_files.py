"""A run of pytest, `slipway verify` among them, keeps to a fresh Debian's limit of open files."""

from __future__ import annotations

import getpass
import os
import resource
import subprocess
import sys

DEBIANS_LIMIT = 1024


def test_a_run_removes_what_an_earlier_one_left_in_many_folders(tmp_path):
    left = tmp_path / f"pytest-of-{getpass.getuser()}"
    left.mkdir(mode=0o700)
    for number in range(5):  # the newest three are kept
        (left / f"pytest-{number}").mkdir()
    for number in range(DEBIANS_LIMIT):
        (left / f"pytest-0/{number}").mkdir()

    one_test = "tests/unit/test_artifact.py::test_a_browser_that_takes_a_compressed_file_gets_the_same"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", one_test],
        env={**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DEBIANS_LIMIT, DEBIANS_LIMIT)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (left / "pytest-0").exists()
    assert list(left.glob("garbage-*")) == []
