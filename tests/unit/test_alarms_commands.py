"""The commands that alarms tell to type, on a fake host."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest

from slipway.alarms import checks, updates
from slipway.alarms.problems import DAY, Problem
from support.made_up import MadeUp, facts


@pytest.fixture
def host() -> MadeUp:
    return MadeUp()


def problems(check: Any, host: MadeUp, memory: dict[str, Any] | None = None, **more: Any) -> list[Problem]:
    return [problem for _, problem in check(facts(**more), host, {} if memory is None else memory)]


def test_each_is_one_that_a_shell_takes_as_it_is(host, monkeypatch):
    mount = r"systemd-fsck@dev-disk-by\x2duuid.service"
    host.commands["systemctl list-units"] = (0, f"{mount} loaded failed failed Check\n")
    host.used = {"/": (1, 95.0, 95.0)}
    host.times["/run/reboot-required"] = host.time - 4 * DAY
    host.files["/proc/pressure/memory"] = "some avg10=0.00 avg60=0.00 avg300=34.10 total=1\n"
    answers = iter([(0.0, 3600.0, 0.9)])
    monkeypatch.setattr(host, "oplog", lambda *_: next(answers), raising=False)
    monkeypatch.setattr(host, "members", lambda *_: {}, raising=False)
    monkeypatch.setattr(checks, "secret", lambda *_: "")
    host.commands["journalctl --unit=mongod"] = (0, '"id":51803\n' * 2000)
    memory: dict[str, Any] = {"oom_time": host.time}
    found = problems(checks.units, host)
    found += [one for check in (checks.disks, checks.memory_pressure) for one in problems(check, host, memory)]
    found += problems(updates.updates, host) + problems(checks.mongodb, host, mongodb=["127.0.0.1", 1, "admin"])
    assert len(found) == 8
    for one in found:
        assert subprocess.run(["sh", "-n", "-c", one.command], check=False).returncode == 0, one.command
        # Nothing but the command, without a remark.
        assert "(" not in one.command, one.command
    assert mount in shlex.split(found[0].command)


def test_what_fills_a_file_system_is_shown_by_its_size_or_its_number_of_files(host):
    host.used = {"/srv": (1, 95.0, 95.0)}
    assert [one.command for one in problems(checks.disks, host)] == [
        "du -x -d 3 -h /srv | sort -h | tail -n 20",
        "du -x -d 3 --inodes /srv | sort -n | tail -n 20",
    ]


def test_a_job_that_is_late_is_looked_for_in_the_log_of_its_service(host):
    host.commands["systemctl is-active"] = (0, "active\n")
    host.commands["sh -c"] = (1, "")
    (late,) = problems(checks.health, host, health={"slipway-slice.timer": "fresh slice"})
    assert late.command == "journalctl -u slipway-slice.service -n 50; slipway status"


def test_a_login_is_looked_for_with_the_fingerprint_of_its_key_and_its_address_is_one(host):
    memory: dict[str, Any] = {"logins_time": host.time}
    lines = ["Accepted publickey for admin from 2001:db8::7 port 1 ssh2", "Accepted x for y from $(reboot) port 1 ssh2"]
    host.commands["journalctl"] = (0, "\n".join(lines))
    (login,) = problems(checks.logins, host, memory)
    assert login.command == "journalctl -t sshd -t sshd-session -g 'Accepted .* 2001:db8::7 '"
