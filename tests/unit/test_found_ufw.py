"""UFW's rules on an existing server: for an interface, for some addresses, and those that something else keeps."""

from __future__ import annotations

import pytest

from slipway.adoption import in_the_way, network, setting, ufw
from support.obstacles import told

ENABLED = "ENABLED=yes"
OPEN = "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in"
TS_INPUT = "-A INPUT -j ts-input"


def rule(text: str) -> str:
    return f"### tuple ### {text}"


def on(interface: str, port: str = "any", protocol: str = "any") -> list[str]:
    """The rules of `ufw allow in on INTERFACE`."""
    return [rule(f"allow {protocol} {port} {all_of} any {all_of} in_{interface}") for all_of in ("0.0.0.0/0", "::/0")]


PRIVATE = rule("allow tcp 5432 0.0.0.0/0 any 10.0.0.5 in")


@pytest.mark.parametrize(
    ("rules", "to_some", "to_all"),
    [
        (on("wg0"), None, {22}),
        (on("wg0", "9000"), {22, 9000}, {22}),
        (on("lo"), {22}, {22}),
        (on("eth0", "8443", "tcp"), {22, 8443}, {22, 8443}),
        ([PRIVATE], {22, 5432}, {22}),
        ([rule("allow any any 0.0.0.0/0 any 10.0.0.1 in")], None, {22}),
    ],
)
def test_a_rule_for_some_opens_no_port_to_all(rules, to_some, to_all):
    lines = ufw.affected([ENABLED, OPEN, *rules], {"uplinks": "eth0 0 0"})
    assert ufw.open_ports(lines) == to_some
    assert ufw.open_ports(lines, to_all=True) == to_all


def lost(lines, settings, before="", input_rules=()):
    earlier = {"before": before}
    return [*ufw.lost_rules(ufw.affected([ENABLED, OPEN, *lines], earlier, input_rules), settings, ["22"])]


def said(one):
    """The lines for /etc/ufw/before.rules in an obstacle's remedy."""
    return "\n".join(part for part in one.need.split("`") if part.startswith("-A "))


@pytest.mark.parametrize(
    ("rules", "name", "written"),
    [
        (
            on("wg0"),
            "ufw allow in on wg0",
            "-A ufw-before-input -i wg0 -j ACCEPT\n-A ufw6-before-input -i wg0 -j ACCEPT",
        ),
        (
            [PRIVATE],
            "ufw allow from 10.0.0.5 to any port 5432 proto tcp",
            "-A ufw-before-input -s 10.0.0.5 -p tcp --dport 5432 -j ACCEPT",
        ),
        (
            [rule(f"allow any 53 0.0.0.0/0 any 10.0.{number}.0/24 in") for number in (1, 2)],
            "ufw allow from 10.0.1.0/24 to any port 53",
            "-A ufw-before-input -s 10.0.1.0/24,10.0.2.0/24 -p tcp --dport 53 -j ACCEPT\n"
            "-A ufw-before-input -s 10.0.1.0/24,10.0.2.0/24 -p udp --dport 53 -j ACCEPT",
        ),
        (
            [rule("allow tcp 25,587 0.0.0.0/0 any 10.0.0.5 in")],
            "ufw allow from 10.0.0.5 to any port 25,587 proto tcp",
            "-A ufw-before-input -s 10.0.0.5 -p tcp -m multiport --dports 25,587 -j ACCEPT",
        ),
        (
            [rule("deny any any 0.0.0.0/0 any 192.0.2.66 in")],
            "ufw deny from 192.0.2.66",
            "-A ufw-before-input -s 192.0.2.66 -j DROP",
        ),
    ],
)
def test_a_rule_for_some_is_named_until_its_line_is_in_the_owners_file(settings_with, rules, name, written):
    (one,) = lost(rules, settings_with())
    assert (one.name, said(one)) == (name, written)
    assert "(then: ufw reload)" in one.need
    assert lost(rules, settings_with(), written) == []
    other = written.replace("wg0", "wg1").replace("10.0.", "10.9.").replace("192.0.2.", "198.51.100.")
    assert told(lost(rules, settings_with(), other)) == [name]


@pytest.mark.parametrize(
    ("before", "is_kept"),
    [
        ("-A ufw-before-input -s 10.0.0.0/8 -j ACCEPT", True),
        ("-A ufw-before-input -p tcp --dport 5000:6000 -m conntrack --ctstate NEW -j ACCEPT", True),
        ("-A ufw-before-input -s 10.0.0.5 -p udp --dport 5432 -j ACCEPT", False),
        ("-A ufw-before-input -s 10.0.0.5 -p tcp --dport postgresql -j ACCEPT", False),
        ("-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", False),
        ("-A ufw-before-input ! -s 10.0.0.9 -j ACCEPT", False),
        ("-A ufw-before-input -s office.example -j ACCEPT", False),
        ("-A ufw-before-input -i lo -j ACCEPT", False),
        ("-A ufw-before-input -s 10.0.0.5 -j DROP", False),
    ],
)
def test_a_line_keeps_a_rule_that_it_is_wide_enough_for(settings_with, before, is_kept):
    assert (lost([PRIVATE], settings_with(), before) == []) == is_kept


def test_a_rule_that_a_setting_or_another_rule_makes_needless_is_none(settings_with):
    assert lost([PRIVATE], settings_with(firewall_allow=["5432/tcp"])) == []
    assert lost([PRIVATE, rule("allow tcp 5432 0.0.0.0/0 any 0.0.0.0/0 in")], settings_with()) == []
    assert lost([rule("deny any any 0.0.0.0/0 any 127.0.0.0/8 in")], settings_with()) == []


def test_bans_of_fail2bans_are_no_rules_of_an_owners(settings_with):
    ban = b"by Fail2Ban after 3 attempts against sshd".hex()
    rules = [rule(f"reject any any 0.0.0.0/0 any 192.0.2.{number} in comment={ban}") for number in range(30)]
    assert lost(rules, settings_with()) == []
    assert told(lost([rules[0].replace(ban, "6d79")], settings_with())) == ["ufw reject from 192.0.2.0"]


def test_tailscales_own_chain_keeps_what_a_rule_for_its_interface_opens(settings_with):
    lines = on("tailscale0")
    assert told(lost(lines, settings_with())) == ["ufw allow in on tailscale0"]
    assert lost(lines, settings_with(), input_rules=[TS_INPUT]) == []
    listeners = network.listeners({"listeners": "0.0.0.0:19999 netdata netdata.service"})
    is_open = ufw.open_ports(ufw.affected([ENABLED, OPEN, *lines], {}, [TS_INPUT]), to_all=True)
    assert told(network.closed(listeners, is_open, settings_with(), {22})) == []


def test_a_rule_of_both_versions_of_ip_is_one_line(settings_with):
    routed = [rule(f"route:allow any any {all_of} any {all_of} in_wg0!out_eth0") for all_of in ("0.0.0.0/0", "::/0")]
    denied = [line.replace("allow", "deny") for line in on("eth1")]
    found = lost([*routed, *denied], settings_with())
    names = ["ufw route allow in on wg0 out on eth0", "ufw deny in on eth1"]
    assert [line.partition(": found")[0] for line in in_the_way(found, [])] == names
    assert found[0].need.endswith("and ufw route delete allow in on wg0 out on eth0")


def test_denied_addresses_are_one_line(settings_with):
    rules = [rule(f"deny any any 0.0.0.0/0 any 192.0.2.{number} in") for number in (66, 67)]
    (one,) = lost(rules, settings_with())
    assert one.found.startswith("2 rules, for 192.0.2.66, 192.0.2.67, ")
    assert lost(rules, settings_with(), said(one)) == []


def test_a_rule_for_the_webs_port_is_named_with_what_slipway_does(settings_with):
    (one,) = lost([rule("allow tcp 443 0.0.0.0/0 any 10.0.0.5 in")], settings_with())
    assert one.need == "ufw allow 443/tcp, as Slipway opens it to all"


# --- ssh -------------------------------------------------------------------------------------------------------------

SOURCES = [rule(f"allow tcp 22 0.0.0.0/0 any {source} in") for source in ("10.0.0.0/8", "192.0.2.7")]
WG0 = {"interfaces": "eth0 203.0.113.5/24\nwg0 10.8.0.1/24", "uplinks": "eth0 0 0"}


@pytest.mark.parametrize(
    ("lines", "earlier", "input_rules", "sources"),
    [
        (SOURCES, {}, [], ["10.0.0.0/8", "192.0.2.7"]),
        ([OPEN, *SOURCES], {}, [], None),
        (on("tailscale0"), {}, [TS_INPUT], ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]),
        ([], {}, [TS_INPUT], ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]),
        (on("wg0", "22", "tcp"), WG0, [], ["10.8.0.0/24"]),
        (on("wg0"), {}, [], ["ADDRESS"]),
        (on("eth0", "22", "tcp"), WG0, [], None),
        ([*SOURCES, rule("allow tcp 20:30 0.0.0.0/0 any 0.0.0.0/0 in")], {}, [], None),
        ([rule("allow any any 0.0.0.0/0 any 192.0.2.7 in")], {}, [], ["192.0.2.7"]),
        ([], {**WG0, "before": "-A ufw-before-input -i wg0 -j ACCEPT"}, [], ["10.8.0.0/24"]),
        ([], {"before": "-A ufw-before-input -p tcp --dport 22 -j ACCEPT"}, [], None),
        ([], {"before": "-A ufw-before-input -i lo -j ACCEPT"}, [], None),
    ],
)
def test_ssh_that_is_open_to_some_stays_closed_to_others(settings_with, lines, earlier, input_rules, sources):
    def ssh(*given: str):
        settings = settings_with(firewall_ssh_from=[*given])
        return [*ufw.ssh([ENABLED, *lines], earlier, settings, ["22"], input_rules)]

    assert [one.need for one in ssh()] == ([setting("firewall_ssh_from", sources)] if sources else [])
    assert ssh(*(one for one in sources or () if one != "ADDRESS"), "198.51.100.9") == []
    assert told(ssh("198.51.100.9")) == (["ufw: ssh"] if lines == SOURCES else [])
