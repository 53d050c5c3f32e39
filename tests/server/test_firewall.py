"""UFW, by its own status."""

from __future__ import annotations

from slipway.tasks.firewall import added, rules


def test_the_firewall_denies_what_is_not_allowed(server):
    status = server.host.check_output("ufw status verbose")
    assert "Status: active" in status
    assert "Default: deny (incoming), allow (outgoing)" in status


def test_the_firewall_opens_only_configured_ports(server):
    found = {*added(server.host.check_output("ufw show added").splitlines())}
    sshd = server.host.check_output("sshd -T").splitlines()
    ports = [line.split()[1] for line in sshd if line.startswith("port ")]
    assert found == {*rules(server.settings, ports, bool({"lb", "web"} & {*server.groups}))}
