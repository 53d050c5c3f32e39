"""The firewall's rules."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slipway.facts.ssh import Sshd, SshPort
from slipway.tasks import firewall
from slipway.tasks.firewall import Ufw, UfwInForce, rules
from support.described import commands_of, deploy

ALL = ("web", "app", "db")


def test_a_web_server_opens_ssh_http_and_https_and_another_ssh_alone(settings_with):
    assert rules(settings_with(), ["22"], is_web=True) == ["allow 22/tcp", "allow 80/tcp", "allow 443/tcp"]
    assert rules(settings_with(), ["22"], is_web=False) == ["allow 22/tcp"]


def test_ssh_is_open_to_the_networks_that_are_set_and_to_nobody_else(settings_with):
    settings = settings_with(firewall_ssh_from=["203.0.113.0/24"], firewall_allow=["53/udp"])
    assert rules(settings, ["22"], is_web=False) == [
        "allow from 203.0.113.0/24 to any port 22 proto tcp",
        "allow 53/udp",
    ]


@pytest.fixture
def commands(settings_with, monkeypatch):
    """The commands that open or close ports, given the host's rules and its sshd's ports."""
    monkeypatch.setattr(firewall, "_changed", lambda settings, commands, login: [*commands, f"login by {login.port}"])

    def commands(
        kind: str, found: list[str], ssh: str = "22", active: bool = True, lines: Sequence[str] = ()
    ) -> list[str]:
        (operation,) = deploy(settings_with(sshd_port=2222)).all(kind)
        ufw = {"active": active, "defaults": firewall.DENY_INCOMING if active else "", "rules": found}
        there = {Ufw: ufw, UfwInForce: [*lines], SshPort: ssh, Sshd: {"port": [ssh]}, "ls -d /proc/sys/net": "yes"}
        return commands_of(operation, ALL, there)

    return commands


WEB = ["allow 80/tcp", "allow 443/tcp"]


def test_the_port_that_ssh_has_stays_open_until_sshd_has_moved(commands):
    assert commands("open_rules", [*WEB], active=False) == [
        "ufw allow 2222/tcp",
        "ufw allow 22/tcp",
        "ufw default deny incoming",
        "ufw default allow outgoing",
        "ufw --force enable",
        "login by 22",
    ]
    assert commands("close_rules", ["allow 22/tcp", "allow 2222/tcp", *WEB], ssh="22") == [
        "ufw --force delete allow 22/tcp",
        "login by 2222",
    ]


def test_other_open_ports_are_closed(commands):
    assert commands("close_rules", ["allow 2222/tcp", *WEB, "allow 9999/tcp"], ssh="2222")[0] == (
        "ufw --force delete allow 9999/tcp"
    )


def test_a_forwarding_rule_is_deleted_as_ufw_wants_it(commands):
    found = ["allow 2222/tcp", *WEB, "route allow in on eth0 out on docker0"]
    assert commands("close_rules", found, ssh="2222")[0] == ("ufw --force route delete allow in on eth0 out on docker0")


def test_a_rule_with_a_comment_is_the_same_rule(commands):
    shown = ["Status: active", "ufw allow 2222/tcp comment 'it''s mine'", *(f"ufw {rule}" for rule in WEB)]
    found = Ufw().process(shown)["rules"]
    assert found == ["allow 2222/tcp", *WEB]
    tuples = ["### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in comment=776562", ":INPUT DROP [0:0]"]
    assert UfwInForce().process(tuples) == ["### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in", ":INPUT DROP"]


def test_a_ban_by_fail2bans_action_ufw_is_no_rule():
    """fail2ban itself ends it."""
    ban = "ufw reject from 192.0.2.7 comment 'by Fail2Ban after 5 attempts against wordpress'"
    own = ["ufw deny from 192.0.2.8 comment 'mine'", "ufw allow 1/tcp comment 'by Fail2Ban'"]
    assert Ufw().process([ban, *own])["rules"] == ["deny from 192.0.2.8", "allow 1/tcp"]


def test_a_firewall_without_ipv6_gets_it_with_all_rules(commands):
    assert commands("open_rules", ["allow 2222/tcp", *WEB], ssh="2222", lines=["IPV6=no"]) == [
        "sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw",
        "ufw reload",
        *("ufw allow 2222/tcp", "ufw allow 80/tcp", "ufw allow 443/tcp"),
        "login by 22",
    ]


def test_a_rule_that_ufw_has_for_one_version_alone_is_added(commands):
    lines = ["### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in", "### tuple ### allow tcp 443 ::/0 any ::/0 in"]
    both = ["### tuple ### allow tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in", "### tuple ### allow tcp 2222 ::/0 any ::/0 in"]
    assert commands("open_rules", ["allow 2222/tcp", *WEB], ssh="2222", lines=["IPV6=yes", *lines, *both]) == [
        *("ufw allow 80/tcp", "ufw allow 443/tcp"),
        "login by 22",
    ]
    # Which it can't have where IPv6 is off in the kernel.
    assert commands("open_rules", ["allow 2222/tcp", *WEB], ssh="2222", lines=[*lines, *both]) == []


def test_a_correct_firewall_is_not_changed(commands):
    assert commands("open_rules", ["allow 2222/tcp", *WEB], ssh="2222") == []
    assert commands("close_rules", ["allow 2222/tcp", *WEB], ssh="2222") == []
