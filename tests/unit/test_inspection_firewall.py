"""Which ports can be reached from outside, by the kernel's firewall rules."""

from __future__ import annotations

import pytest

from slipway.inspection import ports, reach
from slipway.inspection.reach import Packet, follow, iptables
from slipway.inspection.report import Port, Report
from slipway.tasks.firewall import expected_rules
from slipway.ui import inspection
from support import recorded

OWN = ("10.213.3.10",)


def port(number: int, protocol: str = "tcp", versions: tuple[int, ...] = (4,), address: str = "0.0.0.0") -> Port:
    return Port(port=number, protocol=protocol, addresses=[address], versions=[*versions], program="x")


def judged(rules: str, number: int, protocol: str = "tcp", versions: tuple[int, ...] = (4,)) -> str:
    one = port(number, protocol, versions)
    ports.judge([one], rules, OWN)
    return one.reach


UFW = recorded.answers("by_hand")["firewall"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(22, "open"), (80, "open"), (8001, "closed"), (8443, "open"), (9000, "limited"), (9999, "open"), (68, "closed")],
)
def test_a_port_behind_ufw(number, expected):
    assert judged(UFW, number) == expected


def test_a_rule_for_one_version_of_ip_is_for_that_alone():
    assert judged(UFW, 9999, versions=(6,)) == "closed", "the owner's rule is one of iptables"
    one = port(9999, versions=(4, 6))
    ports.judge([one], UFW, OWN)
    assert (one.reach, one.reach_by) == ("open", {4: "open", 6: "closed"})
    (row,) = inspection._ports(Report.model_construct(ports=[one], databases=[], without_root=False))
    assert row.text == "x; IPv4 and IPv6; IPv4 open to all, IPv6 closed by the firewall"


def test_a_loopback_port_is_not_reachable_and_without_rules_reach_is_unknown():
    one = port(5432, address="127.0.0.1")
    ports.judge([one], UFW, OWN)
    assert one.reach == "local"
    assert judged("", 80) == "unknown"


def test_what_the_kernel_has_beside_ufw_is_reported():
    assert [rule.text for rule in ports.firewall({}, UFW).others] == [
        "iptables filter INPUT: 1 rule",
        "nft inet own: 1 rule",
    ]


NATIVE = f"*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n== v6\n== nft\n{recorded.text('nft.json')}"


@pytest.mark.parametrize(
    ("number", "protocol", "expected"),
    [
        (22, "tcp", "open"),  # those who are banned are some
        (443, "tcp", "open"),
        (5432, "tcp", "limited"),
        (8050, "tcp", "limited"),
        (9000, "tcp", "limited"),
        (53, "udp", "open"),
        (53, "tcp", "closed"),
        (7000, "tcp", "unknown"),
        (6000, "tcp", "closed"),  # of containers alone
        (8101, "tcp", "closed"),
    ],
)
def test_a_port_behind_tables_of_nftables(number, protocol, expected):
    assert judged(NATIVE, number, protocol) == expected


def test_one_table_that_drops_is_enough():
    dropping = (
        '{"nftables": [{"table": {"family": "ip", "name": "t"}}, {"chain": {"family": "ip", "table": "t", "name": "c",'
        ' "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}]}'
    )
    rules = f"{UFW}\n{dropping}"
    assert judged(rules, 80) == "closed"
    assert judged(rules, 80, versions=(6,)) == "open", "the table is of IPv4"


def test_behind_a_table_that_cant_be_read_nothing_is_known():
    rules = f'{UFW}\n{{"nftables": [{{"table"'
    assert judged(rules, 80) == "unknown"
    assert judged(rules, 8001) == "closed"
    assert ports.firewall({}, rules).others[-1].text == "nft inet (unreadable): 0 rules"


DOCKER = recorded.text("docker.iptables")


def test_a_port_that_a_container_publishes_is_open_past_ufw():
    one = port(8080)
    ports.judge([one], DOCKER, OWN)
    assert (one.reach, one.past_ufw) == ("open", True)
    assert judged(DOCKER, 5433) == "closed", "published on the loopback address alone"
    closed = DOCKER.replace("-A DOCKER-USER -j RETURN", "-A DOCKER-USER -j DROP")
    assert judged(closed, 8080) == "unknown"


def test_a_port_that_ufw_limits_is_open():
    assert judged(DOCKER, 22) == "open"


def rules(*lines: str, policy: str = "DROP") -> dict[str, reach.Chain]:
    text = "\n".join(["*filter", f":INPUT {policy} [0:0]", *(f"-A {line}" for line in lines), "COMMIT"])
    return iptables(text)["filter"]


@pytest.mark.parametrize(
    ("lines", "policy", "expected"),
    [
        ([], "ACCEPT", "open"),
        ([], "DROP", "closed"),
        (["INPUT -p tcp -m multiport --dports 80,443,8000:8100 -j ACCEPT"], "DROP", "open"),
        (["INPUT -p udp --dport 443 -j ACCEPT"], "DROP", "closed"),
        (["INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"], "DROP", "closed"),
        (["INPUT -i lo -j ACCEPT"], "DROP", "closed"),
        (["INPUT ! -i lo -p tcp --dport 443 -j ACCEPT"], "DROP", "open"),
        (["INPUT -s 203.0.113.0/24 -j ACCEPT"], "DROP", "limited"),
        (["INPUT ! -s 203.0.113.0/24 -p tcp --dport 443 -j DROP"], "ACCEPT", "limited"),
        (["INPUT -s 203.0.113.0/24 -j DROP"], "ACCEPT", "open"),
        (["INPUT -d 10.213.3.10/32 -p tcp --dport 443 -j ACCEPT"], "DROP", "open"),
        (["INPUT -d 192.0.2.1/32 -j ACCEPT"], "DROP", "closed"),
        (["INPUT -m geoip --source-country DE -j ACCEPT"], "DROP", "unknown"),
        (["INPUT -m geoip --source-country DE -j DROP"], "ACCEPT", "unknown"),
        (["INPUT -m geoip --source-country DE -j DROP"], "DROP", "closed"),
        (["INPUT -j web", "web -p tcp --dport 443 -j RETURN", "web -j ACCEPT"], "DROP", "closed"),
        (["INPUT -g web", "INPUT -j ACCEPT", "web -p tcp --dport 80 -j ACCEPT"], "DROP", "closed"),
        (["INPUT -j a", "a -j b", "b -j a"], "DROP", "unknown"),
        (["INPUT -m set --match-set banned src -j DROP"], "ACCEPT", "open"),
        (["INPUT -m set --match-set office src -j ACCEPT"], "DROP", "limited"),
        (['INPUT -j LOG --log-prefix "[X] "', "INPUT -p tcp --dport 443 -j REJECT"], "ACCEPT", "closed"),
    ],
)
def test_rules_are_followed_for_a_strangers_first_packet(lines, policy, expected):
    packet = Packet(4, "tcp", 443, frozenset(OWN))
    assert follow(rules(*lines, policy=policy), "INPUT", packet) == expected


def test_the_rules_after_an_apply_are_ufws_new_ones_and_what_is_beside_them():
    after = ports.rules_after(UFW, expected_rules(["allow 22/tcp", "allow 80/tcp", "allow 443/tcp"]))
    found = {number: judged(after, number) for number in (22, 443, 8443, 9000, 9999, 9100)}
    assert found == {22: "open", 443: "open", 8443: "closed", 9000: "closed", 9999: "open", 9100: "closed"}
    assert judged(after, 443, versions=(6,)) == "open"


def test_where_ufw_is_off_its_rules_come_after_what_is_there():
    there = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 9999 -j ACCEPT\nCOMMIT\n== v6\n== nft"
    after = ports.rules_after(there, expected_rules(["allow 22/tcp"]))
    assert [judged(there, number) for number in (22, 80, 9999)] == ["open"] * 3
    assert [judged(after, number) for number in (22, 80, 9999)] == ["open", "closed", "open"]
