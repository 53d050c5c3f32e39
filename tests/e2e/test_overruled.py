"""Problems that `verify` finds beyond the components' drifts: a plan finds each too, or names it."""

from __future__ import annotations

import pytest

from support.lab_host import LabHost

# By name: the shell script, what a plan says, and the script that undoes it ("" where an apply does).
DONE = {
    "a unit's sandbox opened by another drop-in": (
        "printf '[Service]\\nProtectSystem=no\\n' > /etc/systemd/system/nginx.service.d/zz.conf",
        "/etc/systemd/system/nginx.service.d/zz.conf: ProtectSystem=no: found",
    ),
    "the backend's limit raised by a drop-in": (
        "mkdir -p /etc/systemd/system/codementee-backend.service.d;"
        " printf '[Service]\\nMemoryMax=infinity\\n' > /etc/systemd/system/codementee-backend.service.d/a.conf",
        "/etc/systemd/system/codementee-backend.service.d/a.conf: MemoryMax=infinity: found",
    ),
    "updates switched off by a later file": (
        "echo 'APT::Periodic::Unattended-Upgrade \"0\";' > /etc/apt/apt.conf.d/99-off",
        "apt: APT::Periodic::Unattended-Upgrade: found",
    ),
    "core dumps allowed by a later file": (
        "echo '* hard core unlimited' > /etc/security/limits.d/zz.conf",
        "/etc/security/limits.d/zz.conf: * hard core unlimited: found",
    ),
    "a shorter ban by a later file": (
        "printf '[sshd]\\nbantime = 10\\n' > /etc/fail2ban/jail.d/zz.local",
        "/etc/fail2ban/jail.d/zz.local: bantime = 10: found",
    ),
}
CHANGED = {
    "a file of the release for others to write": (
        "chmod g+w /var/www/codementee/current/backend/server.py",
        "Protect the current release",
    ),
    "the certificate's key readable": (
        "chmod 644 $(realpath /etc/nginx/tls/codementee/privkey.pem)",
        "Protect the certificate's key",
    ),
}


@pytest.mark.thorough
def test_what_overrules_slipways_files_is_refused_by_its_name(fresh_server: LabHost) -> None:
    fresh_server.ssh("; ".join(script for script, _ in DONE.values()) + "; systemctl daemon-reload")
    verified = fresh_server.slipway("verify", "lab")
    assert verified.returncode == 1, "nothing of it is in force"
    planned = fresh_server.slipway("plan", "lab")
    assert planned.returncode == 1
    assert [what for what, (_, line) in DONE.items() if line not in planned.stderr] == []
    files = " ".join(script.rpartition("> ")[2] for script, _ in DONE.values())
    fresh_server.ssh(f"rm {files}; systemctl daemon-reload; systemctl restart nginx codementee-backend fail2ban")
    assert fresh_server.plan() == []


@pytest.mark.thorough
def test_what_verify_finds_wrong_is_pending_and_gone_after_an_apply(fresh_server: LabHost) -> None:
    fresh_server.ssh("; ".join(script for script, _ in CHANGED.values()))
    assert fresh_server.slipway("verify", "lab").returncode == 1
    assert fresh_server.operations() == [operation for _, operation in CHANGED.values()]
    fresh_server.apply()
    assert fresh_server.plan() == []
    verified = fresh_server.slipway("verify", "lab")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.thorough
def test_a_unit_of_the_owners_that_has_failed_is_reported_and_no_fault_of_the_servers(fresh_server: LabHost) -> None:
    unit = "/etc/systemd/system/own.service"
    fresh_server.ssh(f"printf '[Service]\\nExecStart=/bin/false\\n' > {unit}; systemctl daemon-reload")
    fresh_server.ssh("systemctl start own; until systemctl is-failed -q own; do sleep 0.1; done")
    planned = fresh_server.slipway("plan", "lab")
    assert planned.returncode == 0, planned.stderr
    assert "units that have failed: own.service" in planned.stdout
    assert fresh_server.slipway("verify", "lab").returncode == 0
