"""The script that undoes an adoption: it is valid, and does nothing without an adoption."""

from __future__ import annotations

import subprocess

from slipway.tasks.adoption import ASIDE
from slipway.tasks.unadopt import script


def test_the_script_is_one_that_a_shell_takes(settings_with):
    subprocess.run(["sh", "-n"], input=script(settings_with()), text=True, check=True)


def test_without_an_adoption_nothing_is_restored(settings_with, tmp_path):
    text = script(settings_with()).replace(ASIDE, str(tmp_path / "by-hand"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"nothing was adopted here: found no {tmp_path}/by-hand\n"
    assert not (tmp_path / "by-hand").exists()


def test_configurations_are_checked_before_anything_moves(settings_with):
    text = script(settings_with())
    first_move = text.index("back etc/mongod.conf")
    assert all(text.index(check) < first_move for check in ("nginx -t -q", "sshd -t", "--outputConfig"))
