"""What a login meets."""

from __future__ import annotations


def test_a_login_leaves_no_core_dump(server):
    # By the administrator's own session, to which the limits of pam_limits apply.
    assert server.host.check_output(f"su -s /bin/sh {server.settings.admin_user} -c 'ulimit -H -c'") == "0"
