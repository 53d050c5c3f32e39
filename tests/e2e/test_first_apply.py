"""A bare system becomes the server, and a second apply changes nothing."""

from __future__ import annotations

import pytest

from support.lab_host import LabHost


def test_a_fresh_host_becomes_the_server_and_a_second_apply_changes_nothing(
    original: dict[str, str], server: LabHost
) -> None:
    assert "✓ codementee: Get a certificate for codementee.test" in original["first"]
    assert "nothing to change" in original["second"]
    assert server.plan() == []


def test_root_is_locked_out_after_the_administrator_has_logged_in(original: dict[str, str], server: LabHost) -> None:
    lines = original["first"].splitlines()
    let_in = next(n for n, line in enumerate(lines) if "✓ codementee: Authorize admin's keys" in line)
    lock_out = "✓ codementee: Harden sshd"
    locked_out = next(n for n, line in enumerate(lines) if lock_out in line)
    assert let_in < locked_out
    assert "connecting as root (port 22): admin (port 22) can't log in yet" in original["first"]
    assert not server.may_log_in("root")
    assert server.may_log_in("admin")


def test_a_first_apply_runs_apt_twice(server: LabHost) -> None:
    first, second = server.ssh("grep ^Commandline: /var/log/apt/history.log").splitlines()
    assert "mongodb" not in first, "its repository is trusted after a look at its key"
    for package in ("certbot", "mongodb-org-server", "nginx", "ufw", "unattended-upgrades"):
        assert package in second


def test_nginx_first_starts_with_the_sites_configuration(server: LabHost) -> None:
    # systemd 257 says it without parentheses.
    said = server.ssh("journalctl -u nginx | head -n 3 | tr -d '()'")
    assert "unmet condition check ConditionPathExists=/etc/nginx/tls" in said


def test_no_secret_that_the_host_has_generated_leaves_it(original: dict[str, str], server: LabHost) -> None:
    folder = "/etc/codementee/credentials"
    names = ("JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD")
    values = [server.ssh(f"cat {folder}/{name}") for name in names]
    assert len(set(values)) == 3
    assert {len(value) for value in values} == {64}
    assert not [value for value in values if value in original["first"] + original["second"]]


@pytest.mark.thorough
def test_the_server_is_verified_over_ipv4_and_ipv6_and_the_flows_work(server: LabHost, tmp_path) -> None:
    """Everyday runs verify the server of test_readme.py instead."""
    address = server.ssh("ip -6 -o addr show scope global | awk '{print $4}'").partition("/")[0]
    report = tmp_path / "report.html"
    done = server.slipway("verify", "lab", "--html", str(report), "--data", f"ssh_hostname={address}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_login_gives_a_token_that_opens_the_companies" in report.read_text()
    assert "ports answering from outside, IPv6" in done.stdout
    assert "secrets seen in journal, process list, world-readable files" in done.stdout
    assert server.plan("--data", f"ssh_hostname={address}") == []
