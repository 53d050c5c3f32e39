"""Intrusion detection."""

from __future__ import annotations


def test_file_integrity_is_checked_daily(server):
    timer = "slipway-integrity.timer"
    assert server.host.check_output(f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"


def test_changes_of_accounts_are_audited(server, own_kernel):
    assert "-k accounts" in server.host.check_output("auditctl -l")
