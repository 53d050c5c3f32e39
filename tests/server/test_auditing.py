"""Intrusion detection."""

from __future__ import annotations


def test_file_integrity_is_checked_daily(server):
    timer = "slipway-integrity.timer"
    assert server.host.check_output(f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"


def test_changes_of_accounts_are_audited(server, own_kernel):
    state, rules = (server.host.check_output(f"auditctl {option}") for option in ("-s", "-l"))
    if "enabled 2" in state.splitlines():
        # Locked rules load at the next boot.
        rules = server.host.check_output("cat /etc/audit/rules.d/slipway.rules")
    assert "-k accounts" in rules
