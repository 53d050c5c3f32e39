"""Nobody is locked out of a server: neither by the owner's mistake nor by Slipway's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from support.lab_host import PROJECT, LabHost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="throwaway hosts need root")

# After how long the host rolls a change back, and what it may take for that.
ROLLBACK = ("--data", "lockout_rollback_seconds=30")
BACK_SECONDS = 30 + 30


def may_log_in(host: LabHost, user: str = "admin", port: int = 22, *options: str) -> bool:
    """Whether a user can log in by the lab's key now, from outside."""
    state = host.lab_host()
    command = [
        *("ssh", "-F", "none", "-i", state["key_file"], "-p", str(port), "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=3"),
        *("-o", "IdentitiesOnly=yes", *options, f"{user}@{state['address']}", "true"),
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_root_is_shut_out_after_the_administrator_has_proven_to_be_in(server):
    lines = server.first_apply.stdout.splitlines()
    let_in = next(n for n, line in enumerate(lines) if "✓ codementee: Let admin in by key" in line)
    shut_out = next(n for n, line in enumerate(lines) if "✓ codementee: Let only keys in by ssh, and not root" in line)
    assert let_in < shut_out
    assert "root logs in by port 22: admin by port 22 can't yet" in server.first_apply.stdout
    assert not may_log_in(server, "root")
    assert may_log_in(server, "admin")


# A setting that shuts everybody out, and the change it is part of.
LOCKOUTS = {
    "a firewall that lets in somebody else": (
        ("--data", 'firewall_ssh_from=["203.0.113.7"]'),
        "firewall",
    ),
    "an sshd that lets in somebody else": (
        ("--data", 'sshd_settings={"AllowUsers": "somebody"}'),
        "ssh",
    ),
}


@pytest.mark.parametrize("mistake", LOCKOUTS)
def test_a_change_that_locks_out_comes_back_and_is_told(server, mistake):
    setting, what = LOCKOUTS[mistake]
    done = server.slipway("apply", "lab", "--yes", *setting)
    assert done.returncode == 1
    assert f"after the change of {what}" in done.stderr
    assert "what was there before is back" in done.stderr
    assert "Traceback" not in done.stderr
    assert may_log_in(server)
    plan = server.slipway("plan", "lab", *setting)
    assert f"the last change of {what} was undone by the host at " in plan.stdout
    server.apply()
    assert server.plan() == []


def start(host: LabHost, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "slipway", "apply", "lab", "--yes", *arguments]
    return subprocess.Popen(command, cwd=PROJECT, env=host.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(answer: Callable[[], bool], seconds: float, what: str) -> float:
    began = time.monotonic()
    while not answer():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.2)
    return time.monotonic() - began


@pytest.mark.parametrize("mistake", LOCKOUTS)
def test_the_host_takes_it_back_by_itself_when_slipway_is_gone_too(server, mistake):
    setting, what = LOCKOUTS[mistake]
    running = start(server, *setting, *ROLLBACK)
    until(lambda: not may_log_in(server), 120, "nobody was locked out: this test would not notice anything")
    running.send_signal(signal.SIGKILL)
    running.wait()
    took = until(lambda: may_log_in(server), BACK_SECONDS, f"still locked out after {BACK_SECONDS} s")
    assert took > 5, "Slipway itself may have taken it back: this test would not notice anything"
    assert f"the last change of {what} was undone" in server.slipway("plan", "lab", *setting).stdout
    server.apply()
    assert server.plan() == []


def test_sshd_settings_that_sshd_refuses_never_reach_it(server):
    before = server.ssh("sha256sum /etc/ssh/sshd_config.d/00-slipway.conf")
    done = server.slipway("apply", "lab", "--yes", "--data", 'sshd_settings={"Nonsense": "on"}')
    assert done.returncode == 1
    assert "Bad configuration option: Nonsense" in done.stderr
    assert server.ssh("sha256sum /etc/ssh/sshd_config.d/00-slipway.conf") == before
    assert server.ssh("ls -d /etc/ssh.slipway-new /var/lib/slipway/undo/armed", check=False) == ""
    assert server.plan() == []


def test_an_administrator_without_the_key_is_told_and_keeps_the_one_that_works(server):
    other = server.ssh("ssh-keygen -q -t ed25519 -N '' -f /root/other && cat /root/other.pub && rm /root/other*")
    done = server.slipway("apply", "lab", "--yes", "--data", f'admin_keys=["{other}"]')
    assert done.returncode == 1
    assert "admin could not log in by port 22 after the change of access" in done.stderr
    assert may_log_in(server)
    assert server.plan() == []


def test_the_ssh_port_changes_in_one_run_and_back(server):
    moved = ("--data", "sshd_port=2222", "--data", "ssh_port=2222")
    done = server.apply(*moved)
    assert "admin logs in by port 22: admin by port 2222 can't yet" in done.stdout
    assert server.plan(*moved) == []
    assert not server.site().accepts(22)
    assert server.plan("--data", "sshd_port=2222") == [], "an inventory that still has the old port leads there too"
    server.apply("--data", "ssh_port=2222")
    assert server.plan() == []
    assert not server.site().accepts(2222)


# What images of providers and hands before ours have left behind.
OLD_HABITS = """
printf 'PasswordAuthentication yes\\nPermitRootLogin yes\\n' > /etc/ssh/sshd_config.d/50-cloud-init.conf
sed -i '/^Include/d; 1i PasswordAuthentication yes\\nPort 22\\nPort 2022' /etc/ssh/sshd_config
systemctl restart ssh
"""


def test_a_configuration_that_lets_passwords_in_again_is_a_drift_whatever_file_it_is_in(server):
    server.ssh(f"cp -a /etc/ssh /root/ssh; {OLD_HABITS}")
    assert "Let only keys in by ssh, and not root" in server.operations()
    server.apply()
    assert server.plan() == []
    effective = server.ssh("sshd -T").splitlines()
    assert {"passwordauthentication no", "permitrootlogin no", "port 22"} <= {*effective}
    assert "port 2022" not in effective
    server.ssh("rm -r /etc/ssh; mv /root/ssh /etc/ssh; systemctl restart ssh")
    assert server.plan() == []
