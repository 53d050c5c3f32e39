"""apt's settings."""

from __future__ import annotations


def test_apt_waits_for_its_lock(server):
    shown = server.host.check_output("apt-config dump DPkg::Lock::Timeout")
    assert shown == f'DPkg::Lock::Timeout "{server.settings.apt_lock_timeout}";'
