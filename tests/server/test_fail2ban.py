"""fail2ban, by its own status."""

from __future__ import annotations

from ipaddress import ip_network

from slipway.engine.deployed import named


def own_jails(server) -> list[str]:
    is_public = {"lb", "web"} & {*server.groups} and server.settings.is_public
    reads_nginx = is_public and "nginx" in named()
    return ["sshd", *(["nginx-limit-req"] if reads_nginx else [])]


def test_fail2ban_watches_ssh_and_nginx(server):
    jails = server.host.check_output("fail2ban-client status | sed -n 's/.*Jail list:\\s*//p'").split(", ")
    own = own_jails(server)
    assert {*own} <= {*jails}
    for jail in own:
        minutes = int(server.host.check_output(f"fail2ban-client get {jail} bantime")) / 60
        assert minutes == server.settings.fail2ban_minutes, jail


def test_fail2ban_spares_whom_the_settings_name(server):
    for jail in own_jails(server):
        spared = server.host.check_output(f"fail2ban-client get {jail} ignoreip")
        assert [one for one in server.settings.fail2ban_ignore if _shown(one) not in spared.split()] == [], jail


def _shown(spared: str) -> str:
    """As fail2ban prints it: one address without its mask."""
    try:
        network = ip_network(spared)
    except ValueError:
        return spared
    return str(network[0] if network.num_addresses == 1 else network)
