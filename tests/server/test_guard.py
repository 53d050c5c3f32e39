"""The dead man's switch."""

from __future__ import annotations


def test_no_change_is_unconfirmed(server):
    """No change of ssh or the firewall waits for its confirmation by a login."""
    assert server.host.run("test -e /var/lib/slipway/undo/armed").rc != 0
    assert server.host.check_output("systemctl is-enabled slipway-undo.timer") == "enabled"
