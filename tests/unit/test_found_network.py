"""Firewalls of an existing server, and what the firewall would close."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import network
from slipway.facts.earlier import Earlier
from support.obstacles import SERVICE, told


@pytest.mark.parametrize(
    ("rules", "chains", "name"),
    [
        (["-A INPUT -j ufw-before-input", "-A INPUT -p tcp -j f2b-sshd", "-A FORWARD -j DROP"], [], None),
        (
            ["-A INPUT -j REJECT --reject-with icmp-host-prohibited"],
            [],
            "iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited",
        ),
        (["-A INPUT -i lo -j ACCEPT"], [], None),
        (["-A INPUT -p tcp -m multiport --dports 22 -m set --match-set f2b-sshd src -j REJECT"], [], None),
        (["-A INPUT -m set --match-set crowdsec-blacklists src -j DROP", "-A INPUT -j CROWDSEC_CHAIN"], [], None),
        (
            ["-A INPUT -m set --match-set office src -j DROP"],
            [],
            "iptables -A INPUT -m set --match-set office src -j DROP",
        ),
        (["-A INPUT -j LOCALINPUT"], [], "iptables -A INPUT -j LOCALINPUT"),
        (["-A INPUT -j ts-input", "-A INPUT -j LOG"], [], None),
        (
            ["-A INPUT -p tcp -m tcp --dport 3306 -j ACCEPT"],
            [],
            "iptables -A INPUT -p tcp -m tcp --dport 3306 -j ACCEPT",
        ),
        ([], ["inet filter input"], "nft inet filter input"),
    ],
)
def test_a_firewall_beside_ufw_is_named(rules, chains, name):
    assert told(network.obstacles(rules, chains)) == ([name] if name else [])


def test_tables_of_bans_are_no_firewalls(tmp_path):
    """Chains of nft(8) that drop what comes in; those of bans are told by their tables' names."""
    tables = {
        "inet filter": "input",
        "ip sshguard": "blacklist",
        "ip crowdsec": "crowdsec-chain",
        "ip f2b-table": "f2b",
    }
    listed = "".join(
        f"table {table} {{\n chain {chain} {{\n type filter hook input priority 0; policy drop;\n }}\n}}\n"
        for table, chain in tables.items()
    )
    nft = tmp_path / "nft"
    nft.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
    nft.chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    section = command[command.index("s chains;") : command.index("s legacy;")].removeprefix("s chains;")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", section], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "inet filter input\n"


LISTENERS = """0.0.0.0:22 sshd ssh.service
[::]:25 master postfix.service
127.0.0.1:6379 redis-server redis.service
0.0.0.0:8001 uvicorn codementee-backend.service
*:3000 node blog.service
0.0.0.0:9000 docker-proxy docker.service
127.0.0.53%lo:53 systemd-resolve """
UFW = [
    "ENABLED=yes",
    "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
    "### tuple ### allow tcp 25,80:82 ::/0 any ::/0 in",
]


def test_what_the_firewall_would_close_is_named(settings_with):
    sockets = network.listeners({"listeners": LISTENERS})
    ours = {22, 80, 443, 27017}
    closed = lambda is_open, **changes: told(network.closed(sockets, is_open, settings_with(**changes), ours))  # noqa: E731
    assert closed(None) == ["port 25", "port 3000", "port 9000"]
    assert closed(None, firewall_allow=["25/tcp", "3000/tcp", "9000/tcp"]) == []
    assert network.open_ports(UFW) == {22, 25, 80, 81, 82}
    assert closed(network.open_ports(UFW)) == ["port 25", "port 9000"]
    assert network.open_ports(UFW[1:]) is None
    assert network.open_ports([*UFW, 'DEFAULT_INPUT_POLICY="ACCEPT"']) is None
    assert network.open_ports([*UFW, "### tuple ### allow any any 0.0.0.0/0 any 10.0.0.1 in"]) is None


def test_a_port_that_systemd_listens_on_is_named_by_its_unit(settings_with):
    lines = ["*:22", "*:111", "*:6556", "*:9090", "127.0.0.1:9091", "*:8001", "*:7777"]
    units = "[::]:22 Stream ssh.socket\n0.0.0.0:111 Stream rpcbind.socket\n[::]:6556 Stream check-mk-agent.socket"
    units += "\n[::]:9090 Stream cockpit.socket\n127.0.0.1:9091 Stream own.socket"
    units += "\n[::]:8001 Stream codementee-backend.socket\n0.0.0.0:5355 Datagram x.socket"
    earlier = {"listeners": "\n".join(f"{one} systemd " for one in lines), "activated": units}
    found = [*network.closed(network.by_unit(network.listeners(earlier), earlier), None, settings_with(), {22})]
    assert told(found) == ["port 6556", "port 9090"]
    assert found[1].found == "cockpit.socket listening publicly, which the firewall would block"


def test_the_sockets_that_systemd_listens_on_are_found(tmp_path):
    listed = (
        "/run/dbus/system_bus_socket Stream dbus.socket dbus.service\n[::]:9090 Stream cockpit.socket cockpit.service"
    )
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho '{listed}'\n")
    (tmp_path / "systemctl").chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    section = command[command.index("s activated;") : command.index("s local;")].removeprefix("s activated;")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", section], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[::]:9090 Stream cockpit.socket\n"


def test_ports_that_rules_of_the_owners_before_ufws_open_are_known():
    rules = [
        "# -A ufw-before-input -p tcp --dport 1 -j ACCEPT",
        "-A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT",
        "-A ufw-before-input -p tcp --dport 8443 -j ACCEPT",
        "-A ufw-before-input -s 10.0.0.5 -p tcp -m multiport --dports 80,9000:9001 -j ACCEPT",
        "-A ufw6-before-input -m tcp -p tcp --dport 7 -m conntrack --ctstate NEW -j ACCEPT",
        "-A ufw-before-input -p tcp --dport 25 -j DROP",
    ]
    assert network.kept_ports(rules) == {8443, 80, 9000, 9001, 7}


def test_a_vpns_port_that_the_firewall_would_close_is_named(settings_with):
    text = "0.0.0.0:51820  \n0.0.0.0:53 named bind9.service\n0.0.0.0:45123 named bind9.service\n0.0.0.0:68 dhclient x"
    sockets = network.datagrams({"datagrams": text})
    closed = lambda rules, **changes: told(  # noqa: E731
        network.closed(sockets, network.open_ports(rules, "udp"), settings_with(**changes), {53})
    )
    assert closed([]) == ["port 51820/udp", "port 53/udp"]
    assert closed([], firewall_allow=["51820/udp", "53/udp"]) == []
    assert closed(UFW) == []
    assert closed([*UFW, "### tuple ### allow udp 51820 0.0.0.0/0 any 0.0.0.0/0 in"]) == ["port 51820/udp"]


def test_a_stopped_container_that_takes_a_port_at_boot_is_named():
    text = "proxy 443 80 8080\nshop 3000\nmongo 27017"
    found = [*network.restarted({"containers": text}, {22, 80, 443, 27017})]
    assert told(found) == ["container proxy", "container mongo"]
    assert "on port 80, 443" in found[0].found


def test_a_server_is_told_from_a_client_among_the_ephemeral_ports(settings_with):
    lines = ["0.0.0.0:34197 factorio factorio.service", "*:41194 openvpn openvpn@server.service"]
    clients = [
        "0.0.0.0:45123 named named.service",
        "*:50000 rsyslogd rsyslog.service",
        "*:50001 python3.11 app.service",
    ]
    sockets = {"datagrams": "\n".join([*lines, *clients, "*:40000 dig ", "*:62000 turnserver coturn.service"])}
    sockets["later datagrams"] = "\n".join([*lines, *clients])
    closed = network.closed(network.datagrams(sockets), None, settings_with(), set())
    assert told(closed) == ["port 34197/udp", "port 41194/udp", "port 62000/udp"]


VRRP = "112 keepalived\n112 keepalived\n58 systemd-network\n47 gre1"


@pytest.mark.parametrize(
    ("text", "lines", "names"),
    [
        (VRRP, [], ["protocol vrrp", "protocol gre"]),
        (f"{VRRP}\nopen 112\nopen gre", [], []),
        (VRRP, UFW, []),
        (VRRP, [*UFW, 'DEFAULT_INPUT_POLICY="ACCEPT"'], ["protocol vrrp", "protocol gre"]),
        (VRRP, [*UFW, "### tuple ### allow gre any 0.0.0.0/0 any 0.0.0.0/0 in"], ["protocol gre"]),
        ("", [], []),
    ],
)
def test_a_protocol_that_the_firewall_would_close_is_named(text, lines, names):
    assert told(network.protocols({"protocols": text}, lines)) == names


def test_protocols_are_found_by_sockets_tunnels_and_the_rules_before_ufws(tmp_path):
    programs = {
        "ss": "echo '0 0 0 0.0.0.0:112 0.0.0.0:* users:((\"keepalived\",pid=1,fd=3))'",
        "ip": 'case "$*" in *"type sit up") echo "5: he6@NONE: <NOARP,UP>" ;; *xfrm*) echo "proto esp" ;; esac',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "before.rules").write_text("-A ufw-before-input -p icmp --icmp-type 3 -j ACCEPT\n# -p gre\n")
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("unit_of() {") : command.index("process() {")]
    script += command[command.index("sockets() {") : command.index("s listeners;")]
    script += command[command.index("s protocols;") : command.index("s flushes;")].replace("/etc/ufw", str(tmp_path))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["112 keepalived", "41 he6", "50 IPsec", "open icmp"]


def test_traffic_that_ufws_default_would_no_longer_forward_is_named():
    rules = ["iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE", "nft inet incus"]
    assert told(network.others({"forwarded": "\n".join(rules)})) == rules


def test_an_nftables_service_that_would_flush_ufws_rules_at_boot_is_named():
    assert told(network.others({"flushes": "nftables.service"})) == ["nftables.service"]


def test_another_firewalls_packages_and_rules_out_of_sight_are_named():
    assert told(network.packages({"packages": "netfilter-persistent\n"})) == ["package netfilter-persistent"]
    rules = {"legacy": "-A INPUT -j DROP", "redirects": "-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3000"}
    assert told(network.others(rules)) == [
        "iptables-legacy",
        "iptables -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3000",
    ]


OPEN = "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in"


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("deny any any 0.0.0.0/0 any 192.0.2.66 in", "ufw deny from 192.0.2.66"),
        ("deny_log any any 0.0.0.0/0 any 192.0.2.66 in", "ufw deny from 192.0.2.66"),
        ("deny tcp 23 0.0.0.0/0 any 0.0.0.0/0 in", None),
        ("deny tcp 25 0.0.0.0/0 any 0.0.0.0/0 out", "ufw deny out to any port 25 proto tcp"),
        ("allow any 53 0.0.0.0/0 any 0.0.0.0/0 out", None),
        ("allow tcp 5432 0.0.0.0/0 any 10.0.0.5 in comment=6462", "ufw allow from 10.0.0.5 to any port 5432 proto tcp"),
        ("allow any 9000 0.0.0.0/0 any 0.0.0.0/0 in_wg0", "ufw allow in on wg0 to any port 9000"),
        ("allow any 9000 0.0.0.0/0 any 0.0.0.0/0 in_lo", None),
        ("allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in", None),
        ("limit tcp 22 0.0.0.0/0 any 10.0.0.0/8 in", None),
        ("route:allow any any 0.0.0.0/0 any 0.0.0.0/0 in_wg0!out_eth0", "ufw route allow in on wg0 out on eth0"),
    ],
)
def test_a_rule_of_ufws_that_would_be_lost_is_named(settings_with, rule, name):
    lines = ["ENABLED=yes", OPEN, f"### tuple ### {rule}"]
    assert told(network.lost_rules(lines, settings_with(), ["22"])) == ([name] if name else [])
    assert told(network.lost_rules(lines[1:], settings_with(), ["22"])) == []


def test_ssh_that_is_open_to_some_addresses_stays_closed_to_others(settings_with):
    rules = [f"### tuple ### allow tcp 22 0.0.0.0/0 any {source} in" for source in ("10.0.0.0/8", "192.0.2.7")]
    lines = ["ENABLED=yes", *rules]
    (one,) = network.lost_rules(lines, settings_with(), ["22"])
    assert one.need == 'firewall_ssh_from = ["10.0.0.0/8", "192.0.2.7"]'
    assert told(network.lost_rules(lines, settings_with(firewall_ssh_from=["10.0.0.0/8", "192.0.2.7"]), ["22"])) == []


def test_rules_of_one_port_for_many_addresses_are_one_line(settings_with):
    sources = [f"192.0.2.{number}" for number in range(20)]
    rules = [f"### tuple ### allow tcp 443 0.0.0.0/0 any {source} in" for source in sources]
    (one,) = network.lost_rules(["ENABLED=yes", OPEN, *rules], settings_with(), ["22"])
    assert (one.name, one.found.startswith("20 rules, for 192.0.2.0, 192.0.2.1, ")) == (
        "ufw allow from 192.0.2.0 to any port 443 proto tcp",
        True,
    )


def test_a_firewall_that_denies_outgoing_traffic_is_named(settings_with):
    lines = ["ENABLED=yes", 'DEFAULT_OUTPUT_POLICY="DROP"', OPEN]
    assert told(network.lost_rules(lines, settings_with(), ["22"])) == ["ufw default deny outgoing"]


def test_an_address_that_fail2ban_spares_now_is_named_with_the_setting(settings_with):
    earlier = {"ignored": "127.0.0.1/8\n::1\n203.0.113.7\n\nhome.example.org\n198.51.100.0/24\n"}
    (one,) = network.bans(earlier, settings_with(fail2ban_ignore=["198.51.100.0/24"]))
    assert one.need == 'fail2ban_ignore = ["198.51.100.0/24", "203.0.113.7/32"]'
    assert told(network.bans({"ignored": "127.0.0.1/8"}, settings_with())) == []
