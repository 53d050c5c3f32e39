"""The integrity check on a server that has one already."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from slipway.tasks import auditing
from support.described import deploy
from support.obstacles import told


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


@pytest.mark.parametrize(
    ("enabled", "loaded", "is_due"), [(1, "", True), (2, "", False), (1, "-k modules\n-k accounts", False)]
)
def test_locked_audit_rules_wait_for_the_next_boot(settings_with, tmp_path, enabled, loaded, is_due):
    (one,) = [one for one in deploy(settings_with()).operations if one.name == "Load the audit rules"]
    shown = f"case $1 in -s) printf 'enabled {enabled}\\nfailure 1\\n' ;; -l) echo '{loaded}' ;; esac"
    (tmp_path / "auditctl").write_text(f"#!/bin/sh\n{shown}\n")
    (tmp_path / "auditctl").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert (subprocess.run(["sh", "-c", one.arguments["check"]], env=env, check=False).returncode != 0) == is_due


def test_rules_that_only_the_compiled_file_has_are_named(tmp_path, monkeypatch):
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.d/10.rules").write_text("-w /etc/a -p wa -k a  \n-e 2\n")
    (tmp_path / "audit.rules").write_text("-D\n-b 8192\n-w /etc/a -p wa -k a  \n-w /etc/b -p wa -k b\n")

    def get_fact(fact, command):
        script = command.replace("/etc/audit/", f"{tmp_path}/")
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout

    monkeypatch.setattr(auditing, "host", SimpleNamespace(get_fact=get_fact))
    (one,) = auditing.rules_by_hand()
    assert (one.name, "'-w /etc/b -p wa -k b' the first" in one.found) == ("/etc/audit/audit.rules", True)
    (tmp_path / "audit.rules").write_text("-w /etc/a -p wa -k a  \n")
    assert told(auditing.rules_by_hand()) == []
