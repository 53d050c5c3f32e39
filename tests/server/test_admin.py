"""The administrator."""

from __future__ import annotations


def test_the_administrator_has_exactly_the_configured_keys(server):
    home = server.host.user(server.settings.admin_user).home
    keys = server.host.check_output(f"cat {home}/.ssh/authorized_keys").splitlines()
    assert keys == server.settings.admin_keys
