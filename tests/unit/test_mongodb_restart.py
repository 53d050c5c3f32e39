"""The restart of an existing MongoDB with Slipway's configuration, with programs of the test's own."""

from __future__ import annotations

import subprocess

import pytest

from slipway.facts.earlier import Earlier
from slipway.facts.mongodb import MongodbData
from slipway.facts.ssh import Sshd
from slipway.ops.backup import KEPT
from slipway.tasks import mongodb
from support.described import described, run_deploy

RUNNING = "exe=/usr/bin/mongod\nunit=mongod.service\nuser=mongodb\ncommand=/usr/bin/mongod --config /etc/mongod.conf"
SAME = "codementee.orders 500 4d0be4f8f559d0a9"
PROGRAMS = {
    "systemctl": 'echo "$*" >> $ROOT/said; [ "$1" != restart ] || [ ! -e $ROOT/fails ] || { rm $ROOT/fails; exit 1; }',
    "runuser": 'shift 3; "$@"',
    "mongod": 'case "$*" in *--fork*) echo alone >> $ROOT/said ;; esac',
    "python3": 'for step; do :; done; case "$*" in *" lock"*) step=lock ;; esac; cat $ROOT/$step',
    "chown": ":",
}


@pytest.fixture
def restarted(settings_with, tmp_path, monkeypatch):
    """Restarts one that has a configuration, with what its data are before and after; returns what happened."""
    config, limits = tmp_path / "mongod.conf", tmp_path / "limits"
    for name, path in (("CONFIG", config), ("LIMITS", limits)):
        monkeypatch.setattr(mongodb, name, str(path))
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    config.write_text("old")

    def run(before: str, after: str, is_closed: bool = False):
        (tmp_path / "lock").write_text(before)
        (tmp_path / "hash").write_text(after)
        given = {"config": "new", "limits": "limits", "answers": "", "is_closed": is_closed}
        with described(settings_with(mongodb_replica_set=""), ("db",)) as (server, _):
            mongodb.restart_with_its_data(name="Restart", settings=settings_with(mongodb_replica_set=""), **given)
            (command,) = server.operations[0].commands()
        script = str(command)
        for folder, own in (("/run/slipway-mongodb", "private"), (KEPT, "kept")):
            script = script.replace(folder, f"{tmp_path}/{own}")
        env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "ROOT": str(tmp_path)}
        done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)
        said = [line for line in (tmp_path / "said").read_text().splitlines() if "mongod" in line or line == "alone"]
        return done, config.read_text(), limits.exists(), said, list(tmp_path.glob("private*"))

    return run


@pytest.mark.parametrize("is_closed", [False, True])
def test_the_new_configuration_comes_once_the_data_are_the_same(restarted, is_closed):
    done, config, has_limits, said, left = restarted(SAME, SAME, is_closed)
    assert (done.returncode, config, has_limits, left) == (0, "new", True, []), done.stderr
    steps = [line for line in said if line.split()[0] in ("stop", "alone", "restart")]
    assert steps == ["stop mongod", "alone", "restart mongod"]


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("after", ["", "codementee.orders 499 0d0be4f8f559d0a9", f"{SAME}\nother.things 1 d1"])
def test_a_difference_brings_the_previous_configuration_back(restarted, after, is_closed):
    done, config, has_limits, said, left = restarted(SAME, after, is_closed)
    assert (done.returncode, config, has_limits, left) == (1, "old", False, [])
    assert "MongoDB would not have the same data (<: it had)" in done.stderr
    assert f"< {SAME}" in done.stderr or "> " in done.stderr
    # It runs again, as it was.
    assert [line for line in said if line.startswith("restart")] == ["restart mongod.service"]


def test_a_server_that_requires_a_password_is_compared_too(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "correct horse battery")
    data = {"state": "closed", "has_users": True, "login": "accepted", "version": "7.0.5", "documents": {}}
    text = "storage:\n  dbPath: /var/lib/mongodb\nsecurity:\n  authorization: enabled\n"
    with described(settings_with()) as (server, host):
        host.answers = {Sshd: {"port": ["22"], "authorizedkeysfile": [".ssh/authorized_keys"]}, MongodbData: data}
        host.answers[Earlier] = {"mongod": RUNNING, "file /etc/mongod.conf": text}
        run_deploy()
    (restart,) = server.all("restart_with_its_data")
    assert restart.arguments["is_closed"]
    names = [one.name for one in server.operations]
    # Its administrator logs in first; its backend has a password, and moves after it.
    assert names.index("Create MongoDB's users") < names.index(restart.name) < names.index("Start the backend")
