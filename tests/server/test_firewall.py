"""UFW, by its own status."""

from __future__ import annotations


def test_the_firewall_denies_what_is_not_allowed(server):
    status = server.host.check_output("ufw status verbose")
    assert "Status: active" in status
    assert "Default: deny (incoming), allow (outgoing)" in status


def test_the_firewall_opens_only_configured_ports(server):
    added = server.host.check_output("ufw show added")
    rules = {line.removeprefix("ufw ") for line in added.splitlines() if line.startswith("ufw ")}
    sshd = server.host.check_output("sshd -T").splitlines()
    ssh = {f"allow {line.split()[1]}/tcp" for line in sshd if line.startswith("port ")}
    web = {"allow 80/tcp", "allow 443/tcp"} if "web" in server.groups else set()
    assert rules == ssh | web | {f"allow {port}" for port in server.settings.firewall_allow}
