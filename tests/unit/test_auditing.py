"""The integrity check on a server that has one already."""

from __future__ import annotations

import subprocess

import pytest

from slipway.tasks import auditing
from support.described import deploy


@pytest.mark.parametrize(
    ("config", "kept", "is_moved"),
    [("report_url=stdout\n", False, True), ("# by Slipway\n", False, False), ("x\n", True, False), (None, False, True)],
)
def test_the_owners_integrity_database_is_put_aside_once(settings_with, tmp_path, config, kept, is_moved):
    (one,) = [one for one in deploy(settings_with()).operations if one.name == "Keep the previous integrity database"]
    (tmp_path / "aide.db").write_text("baseline")
    if config is not None:
        (tmp_path / "aide.conf").write_text(config)
    if kept:
        (tmp_path / "aide.db.by-hand").write_text("older")

    def run(script):
        script = script.replace(auditing.CONFIG, f"{tmp_path}/aide.conf").replace(auditing.FOLDER, str(tmp_path))
        return subprocess.run(["sh", "-c", script], check=False).returncode

    is_due = run(one.arguments["check"]) != 0
    assert is_due == is_moved
    if is_due:
        assert run(one.arguments["command"]) == 0
        assert (tmp_path / "aide.db.by-hand").read_text() == "baseline"
        assert run(one.arguments["check"]) == 0
