"""The program that limits the size of Nginx's logs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from slipway.ops.templates import render
from slipway.tasks.nginx import READABLE_LOGS
from slipway.tasks.nginx_logs import FOLDER

MIB = 2**20
# It rotates as logrotate does, with the compressed file a tenth.
LOGROTATE = """#!/bin/sh
echo "$*" >> {said}
if [ -e access.log.1 ]; then
  head -c 1M access.log.1 > access.log.2.gz; touch -r access.log.1 access.log.2.gz; rm access.log.1
fi
mv access.log access.log.1; : > access.log
"""


@pytest.fixture
def run(tmp_path):
    logs, programs, said = tmp_path / "logs", tmp_path / "bin", tmp_path / "said"
    logs.mkdir()
    programs.mkdir()
    rotate = programs / "logrotate"
    rotate.write_text(LOGROTATE.replace("{said}", str(said)))
    rotate.chmod(0o755)
    text = render("nginx/bound-logs", folder=logs, configuration="nginx", max_mb=10)

    def run(sizes: dict[str, int]) -> tuple[dict[str, int], str]:
        """What is there afterwards, in MiB, and how logrotate was called; files are made the oldest first."""
        for number, (name, size) in enumerate(sizes.items()):
            (logs / name).write_bytes(b"\0" * size * MIB)
            os.utime(logs / name, (number, number))
        path = {"PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", text], env=path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        left = {file.name: file.stat().st_size // MIB for file in sorted(Path(logs).iterdir())}
        return left, said.read_text() if said.exists() else ""

    return run


def test_each_log_of_visitors_that_others_may_read_is_found(tmp_path):
    for name, mode in {"access.log": 0o644, "requests.log": 0o640, "error.log": 0o644, "access.log.1": 0o644}.items():
        (tmp_path / name).touch(mode)
        (tmp_path / name).chmod(mode)
    script = READABLE_LOGS.replace(FOLDER, str(tmp_path))
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == [str(tmp_path / "access.log")]


def test_logs_below_the_limit_are_left_to_the_daily_rotation(run):
    assert run({"access.log.2.gz": 3, "access.log.1": 4, "access.log": 2}) == (
        {"access.log": 2, "access.log.1": 4, "access.log.2.gz": 3},
        "",
    )


def test_the_oldest_rotated_logs_are_removed_first_and_no_other_file(run):
    left, said = run({"other.txt": 2, "error.log.9.gz": 4, "access.log.2.gz": 2, "access.log.1": 4, "access.log": 1})
    assert left == {"access.log": 1, "access.log.1": 4, "access.log.2.gz": 2, "other.txt": 2}
    assert said == ""


def test_a_log_that_is_itself_large_is_rotated_at_once(run):
    left, said = run({"access.log.1": 4, "access.log": 8})
    assert left == {"access.log": 0, "access.log.1": 8, "access.log.2.gz": 1}
    assert said == "--force nginx\n"


def test_a_log_beyond_the_limit_does_not_stay(run):
    left, _ = run({"access.log.1": 4, "access.log": 12})
    assert left == {"access.log": 0}
