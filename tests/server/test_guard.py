"""The rollback of a change that locks out."""

from __future__ import annotations


def test_nothing_waits_to_be_undone(server):
    """A change of ssh or of the firewall that nobody has confirmed by a login."""
    assert server.host.run("test -e /var/lib/slipway/undo/armed").rc != 0
    assert server.host.check_output("systemctl is-enabled slipway-undo.timer") == "enabled"
