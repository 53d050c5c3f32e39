"""The operating system's hardening, as the system itself says it is."""

from __future__ import annotations

import pytest


def test_no_driver_that_is_ruled_out_can_be_loaded(server):
    lines = server.host.check_output("modprobe --showconfig 2>/dev/null | grep '^install '").splitlines()
    for name in ("dccp", "sctp", "rds", "tipc", "usb_storage", "firewire_core"):
        assert f"install {name} /bin/false" in lines


def test_a_login_leaves_no_core_dump(server):
    # By the administrator's own session, to which the limits of pam_limits apply.
    assert server.host.check_output(f"su -s /bin/sh {server.settings.admin_user} -c 'ulimit -H -c'") == "0"


def test_security_updates_and_no_others_come_by_themselves(server):
    shown = server.host.check_output("unattended-upgrade --dry-run -v 2>&1 | grep '^Allowed origins'")
    origins = [part for part in shown.partition(":")[2].split(", ") if part]
    assert origins
    assert [origin for origin in origins if "ecurity" not in origin] == []
    assert "mongo" not in shown.lower()


@pytest.mark.parametrize("timer", ["apt-daily.timer", "apt-daily-upgrade.timer", "slipway-integrity.timer"])
def test_what_happens_by_timer_does(server, timer):
    assert server.host.check_output(f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"


def test_a_reboot_that_an_update_needs_has_its_window(server):
    shown = server.host.check_output("apt-config dump Unattended-Upgrade::Automatic-Reboot").splitlines()
    at = server.settings.reboot_time
    assert f'Unattended-Upgrade::Automatic-Reboot "{"true" if at else "false"}";' in shown
    if at:
        time = server.host.check_output("apt-config dump Unattended-Upgrade::Automatic-Reboot-Time")
        assert time == f'Unattended-Upgrade::Automatic-Reboot-Time "{at}";'


def test_fail2ban_watches_ssh_and_nginx(server):
    jails = server.host.check_output("fail2ban-client status | sed -n 's/.*Jail list:\\s*//p'").split(", ")
    assert set(jails) == {"sshd", *(["nginx-limit-req"] if "web" in server.groups else [])}
    minutes = int(server.host.check_output("fail2ban-client get sshd bantime")) / 60
    assert minutes == server.settings.fail2ban_minutes


def test_changes_of_accounts_are_audited(server, own_kernel):
    assert "-k accounts" in server.host.check_output("auditctl -l")
