"""fail2ban, by its own status."""

from __future__ import annotations

from slipway.engine.deployed import named


def test_fail2ban_watches_ssh_and_nginx(server):
    jails = server.host.check_output("fail2ban-client status | sed -n 's/.*Jail list:\\s*//p'").split(", ")
    is_public = {"lb", "web"} & {*server.groups} and server.settings.is_public
    reads_nginx = is_public and "nginx" in named()
    assert {"sshd", *(["nginx-limit-req"] if reads_nginx else [])} <= {*jails}
    minutes = int(server.host.check_output("fail2ban-client get sshd bantime")) / 60
    assert minutes == server.settings.fail2ban_minutes
