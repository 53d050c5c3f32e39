"""A firewall rule for the time of a restart is removed after it, and by a timer if its shell is killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from slipway.ops.units import Around, undone_by_timer

# Keeps what it is to run later in a file, as systemd would in a unit.
SYSTEMD_RUN = """#!/bin/sh
while [ "$1" != sh ]; do case $1 in --unit=*) unit=${1#--unit=} ;; esac; shift; done
echo "$3" > timers/$unit.timer
"""
SYSTEMCTL = """#!/bin/sh
rm timers/$2
"""


@pytest.fixture
def sh(tmp_path):
    """Runs a shell script beside a stand-in of systemd."""
    for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "timers").mkdir()
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def run(script: str) -> Path:
        subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, check=True)
        return tmp_path

    return run


AROUND = undone_by_timer(Around("echo 'it is' >> rule", "rm -f rule"), "rule", 20)
TIMER = "timers/slipway-undo-rule.timer"


def test_it_ends_with_the_restart_and_leaves_no_timer(sh):
    folder = sh(AROUND.before)
    assert (folder / "rule").read_text() == "it is\n"
    assert (folder / TIMER).exists()
    sh(AROUND.after)
    assert not (folder / "rule").exists()
    assert not (folder / TIMER).exists()


def test_after_a_kill_the_timer_undoes_it(sh):
    folder = sh(AROUND.before)
    sh(f". ./{TIMER}")
    assert not (folder / "rule").exists()


def test_the_next_restart_undoes_what_a_killed_one_has_left(sh):
    folder = sh(f"{AROUND.before}\n{AROUND.before}")
    assert (folder / "rule").read_text() == "it is\n"


def test_without_a_timer_the_restart_goes_on(sh):
    folder = sh("rm bin/systemd-run")
    sh(f"set -e; {AROUND.before}; {AROUND.after}; echo yes > done")
    assert (folder / "done").exists()
