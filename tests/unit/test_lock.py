"""The host's lock, its commands run in local shells."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from slipway.engine import lock

Run = Callable[[str, int], subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """Runs a script for the shell of this process id."""
    monkeypatch.setattr(lock, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(lock, "LOG", str(tmp_path / "log"))

    def run(script: str, pid: int) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", script, "sh", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    return run


@pytest.fixture
def shells() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two shells, as of two applies on a host."""
    shells = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    yield shells
    for shell in shells:
        shell.kill()
        shell.wait()


def take(run: Run, shell: subprocess.Popen[bytes], who: str) -> subprocess.CompletedProcess[str]:
    return run(lock.take(who, "2026-01-01T00:00:00Z", "slipway apply lab"), shell.pid)


def test_a_second_apply_is_refused_and_told_who_is_at_work(run, shells):
    assert take(run, shells[0], "ann@one").returncode == 0
    second = take(run, shells[1], "bob@two")
    assert (second.returncode, second.stdout) == (1, "ann@one since 2026-01-01T00:00:00Z (slipway apply lab)\n")


def test_a_lock_is_released_by_its_holder_alone(run, shells):
    take(run, shells[0], "ann@one")
    run(lock.release(), shells[1].pid)
    assert take(run, shells[1], "bob@two").returncode == 1
    run(lock.release(), shells[0].pid)
    assert take(run, shells[1], "bob@two").returncode == 0


def test_a_lock_whose_holder_is_gone_holds_nobody(run, shells):
    take(run, shells[0], "ann@one")
    shells[0].kill()
    shells[0].wait()
    assert take(run, shells[1], "bob@two").returncode == 0


def test_each_apply_leaves_a_line_that_others_can_not_read(run, tmp_path):
    for result in ("done", "failed"):
        assert run(lock.note("apply", "1.0", result, 3, 1.23), 0).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["verb"], line["result"], line["changed"], line["seconds"]) for line in lines] == [
        ("apply", "done", 3, 1.2),
        ("apply", "failed", 3, 1.2),
    ]
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0
