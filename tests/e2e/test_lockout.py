"""Nobody is locked out of a server: neither by the owner's mistake nor by Slipway's."""

from __future__ import annotations

import pytest

from support.lab_host import LabHost
from support.waiting import wait_until

# A setting that locks everybody out, and the change it is part of.
FIREWALL, SSHD = "a firewall that lets in somebody else", "an sshd that lets in somebody else"
LOCKOUTS = {
    FIREWALL: (("--data", 'firewall_ssh_from=["203.0.113.7"]'), "firewall"),
    SSHD: (("--data", 'sshd_settings={"AllowUsers": "somebody"}'), "ssh"),
}
# How long the host waits for a login before it rolls a change back. The default is 60 s; a unit test checks that.
SOON = ("--data", "lockout_rollback_seconds=45")


@pytest.mark.parametrize("mistake", LOCKOUTS)
def test_a_change_that_locks_out_is_rolled_back_and_reported(server: LabHost, mistake: str) -> None:
    setting, what = LOCKOUTS[mistake]
    done = server.slipway("apply", "lab", "--yes", *setting, *SOON)
    assert done.returncode == 1
    assert f"after the change of {what}" in done.stderr
    assert "the previous configuration is restored" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.may_log_in()
    plan = server.slipway("plan", "lab", *setting, *SOON)
    assert f"the last change of {what} was rolled back by the host at " in plan.stdout


@pytest.mark.parametrize(
    "mistake",
    [
        "a firewall that lets in somebody else",
        pytest.param("an sshd that lets in somebody else", marks=pytest.mark.thorough),
    ],
)
def test_the_host_rolls_it_back_without_slipway(server: LabHost, mistake: str) -> None:
    setting, what = LOCKOUTS[mistake]
    running = server.start("apply", "lab", "--yes", *setting, *SOON)
    wait_until("nobody can log in any more", lambda: running.process.poll() is not None or not server.may_log_in())
    assert running.process.poll() is None, running.end()
    running.kill()
    took = wait_until("somebody can log in again", server.may_log_in)
    assert took > 5, "Slipway itself may have rolled it back: the test has nothing to observe"
    assert f"the last change of {what} was rolled back" in server.slipway("plan", "lab", *setting, *SOON).stdout
    server.apply(*SOON)
    assert server.plan(*SOON) == []


@pytest.mark.thorough
def test_sshd_settings_that_sshd_refuses_never_reach_it(server: LabHost) -> None:
    before = server.ssh("sha256sum /etc/ssh/sshd_config.d/00-slipway.conf")
    done = server.slipway("apply", "lab", "--yes", *SOON, "--data", 'sshd_settings={"Nonsense": "on"}')
    assert done.returncode == 1
    assert "Bad configuration option: Nonsense" in done.stderr
    assert server.ssh("sha256sum /etc/ssh/sshd_config.d/00-slipway.conf") == before
    assert server.ssh("ls -d /etc/ssh.slipway-new /var/lib/slipway/undo/armed", check=False) == ""
    assert server.plan(*SOON) == []


@pytest.mark.thorough
def test_an_administrator_without_the_key_is_reported_and_keeps_the_one_that_works(server: LabHost) -> None:
    other = server.ssh("ssh-keygen -q -t ed25519 -N '' -f /root/other && cat /root/other.pub && rm /root/other*")
    done = server.slipway("apply", "lab", "--yes", *SOON, "--data", f'admin_keys=["{other}"]')
    assert done.returncode == 1
    assert "admin could not log in by port 22 after the change of access" in done.stderr
    assert server.may_log_in()
    assert server.plan(*SOON) == []


@pytest.mark.thorough
def test_the_ssh_port_changes_in_one_run_and_back(fresh_server: LabHost) -> None:
    server = fresh_server
    moved = ("--data", "sshd_port=2222", "--data", "ssh_port=2222")
    done = server.apply(*moved)
    assert "connecting as admin (port 22): admin (port 2222) can't log in yet" in done.stdout
    assert server.plan(*moved) == []
    assert not server.site().accepts(22)
    assert server.plan("--data", "sshd_port=2222") == [], "an inventory that still has the old port leads there too"
    server.apply("--data", "ssh_port=2222")
    assert server.plan() == []
    assert not server.site().accepts(2222)


# Remains of providers' images and earlier administrators.
OLD_HABITS = """
printf 'PasswordAuthentication yes\\nPermitRootLogin yes\\n' > /etc/ssh/sshd_config.d/50-cloud-init.conf
sed -i '/^Include/d; 1i PasswordAuthentication yes\\nPort 22\\nPort 2022' /etc/ssh/sshd_config
systemctl restart ssh
"""


@pytest.mark.thorough
def test_password_logins_enabled_in_any_file_are_a_drift(fresh_server: LabHost) -> None:
    fresh_server.ssh(OLD_HABITS)
    assert "Harden sshd" in fresh_server.operations()
    fresh_server.apply()
    assert fresh_server.plan() == []
    effective = fresh_server.ssh("sshd -T").splitlines()
    assert {"passwordauthentication no", "permitrootlogin no", "port 22"} <= {*effective}
    assert "port 2022" not in effective
