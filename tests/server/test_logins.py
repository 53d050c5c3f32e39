"""Login hardening."""

from __future__ import annotations


def test_a_login_leaves_no_core_dump(server):
    # In a session of the administrator, to which pam_limits applies.
    assert server.host.check_output(f"su -s /bin/sh {server.settings.admin_user} -c 'ulimit -H -c'") == "0"
