"""Firewalls of an existing server, and what the firewall would close."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import network, ufw
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
    assert ufw.open_ports(UFW) == {22, 25, 80, 81, 82}
    assert closed(ufw.open_ports(UFW)) == ["port 25", "port 9000"]
    assert ufw.open_ports(UFW[1:]) is None
    assert ufw.open_ports([*UFW, 'DEFAULT_INPUT_POLICY="ACCEPT"']) is None
    assert ufw.open_ports([*UFW, "### tuple ### allow any any 0.0.0.0/0 any 10.0.0.1 in"]) is None


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
    assert ufw.kept_ports(rules) == {8443, 80, 9000, 9001, 7}


def test_a_vpns_port_that_the_firewall_would_close_is_named(settings_with):
    text = "0.0.0.0:51820  \n0.0.0.0:53 named bind9.service\n0.0.0.0:45123 named bind9.service\n0.0.0.0:68 dhclient x"
    sockets = network.datagrams({"datagrams": text})
    closed = lambda rules, **changes: told(  # noqa: E731
        network.closed(sockets, ufw.open_ports(rules, "udp"), settings_with(**changes), {53})
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
    assert told(network.packages(["ferm"], [])) == ["package ferm"]
    rules = {"legacy": "-A INPUT -j DROP", "redirects": "-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3000"}
    assert told(network.others(rules)) == [
        "iptables-legacy",
        "iptables -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3000",
    ]


def test_rules_that_a_package_loads_at_boot_are_one_line_with_one_command():
    """As on Oracle's images."""
    packages, reject = ["iptables-persistent", "netfilter-persistent"], "-A INPUT -j REJECT"
    rules = ["-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT", reject]
    (one,) = [*network.packages(packages, rules), *network.obstacles(rules, [], packages)]
    assert (one.name, one.may_go) == ("package netfilter-persistent", False)
    assert repr(reject) in one.found
    assert "apt-get purge -y netfilter-persistent iptables-persistent && " in one.need
    (one,) = network.packages(packages, [])
    assert one.may_go


NAT = """\
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -p tcp -j PROXY
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\"" -m multiport --dports 80,443 -j CNI-DN-0a
-A CNI-DN-0a -s 10.42.0.0/24 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-0a -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.8:80
-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 172.17.0.2:443
-A PROXY -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 8888
"""


def section(tmp_path, name, end, **programs):
    """What a section of facts.Earlier prints, with these programs."""
    for program, text in programs.items():
        path = tmp_path / program.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index(f"s {name}") : command.index(f"s {end}")].replace("/etc/", f"{tmp_path}/etc/")
    script = f"s() {{ :; }}; {script.replace('/proc/', f'{tmp_path}/proc/')}"
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_whatever_leads_incoming_traffic_for_the_web_elsewhere_is_found(tmp_path):
    (rule,) = section(tmp_path, "redirects", "forwarded", iptables_save=f"cat <<'END'\n{NAT}END")
    assert rule == "-A CNI-DN-0a -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.8:80"
    (one,) = network.others({"redirects": rule})
    assert "--disable=servicelb" in one.need


@pytest.mark.parametrize(
    ("rules", "is_named"),
    [
        (":FORWARD ACCEPT [0:0]\n-A FORWARD -j OWN", True),
        (":FORWARD DROP [0:0]", False),
        (":FORWARD ACCEPT [0:0]\n-A FORWARD -j DOCKER-FORWARD\n-A DOCKER-FORWARD -i docker0 -j ACCEPT", False),
    ],
)
def test_traffic_is_forwarded_where_no_rule_says_so(tmp_path, rules, is_named):
    (tmp_path / "proc/sys/net/ipv4").mkdir(parents=True)
    (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("1\n")
    nat = "-A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE"
    save = f"case $2 in nat) echo '{nat}' ;; *) cat <<'END'\n{rules}\nEND\n;; esac"
    found = section(tmp_path, "forwarded", "ignored", iptables_save=save, nft=":")
    assert found == ([f"iptables -t nat {nat}"] if is_named else [])


def test_the_kernels_own_sockets_count_by_the_configuration_of_their_ports(tmp_path, settings_with):
    (tmp_path / "etc/wireguard").mkdir(parents=True)
    (tmp_path / "etc/wireguard/wg0.conf").write_text("[Interface]\nListenPort = 51821\n[Peer]\nEndpoint = x:41000\n")
    (tmp_path / "etc/systemd/network").mkdir(parents=True)
    (tmp_path / "etc/systemd/network/wg1.netdev").write_text("[WireGuard]\nListenPort=40000\n")
    (tmp_path / "proc/sys/fs/nfs").mkdir(parents=True)
    (tmp_path / "proc/sys/fs/nfs/nlm_tcpport").write_text("32803\n")
    chosen = section(tmp_path, "chosen", "chains")
    assert chosen == ["51821", "40000", "32803"]
    ports = (2049, 32803, 40000, 40001, 51820, 51821, 55555)
    text = "\n".join(f"0.0.0.0:{port}  " for port in ports)
    earlier = {"listeners": text, "datagrams": text, "later datagrams": text, "chosen": "\n".join(chosen)}
    sockets = [*network.listeners(earlier), *network.datagrams(earlier)]
    found = {one.port for one in sockets}
    assert found == {*ports} - {40001, 55555}


def test_what_tailscale_reaches_stays_open(settings_with):
    text = "100.101.7.9:44321 tailscaled tailscaled.service\n100.101.7.9:19999 netdata netdata.service"
    text += "\n[fd7a:115c:a1e0::7]:9100 node_exporter x.service\n0.0.0.0:25 master postfix.service"
    closed = lambda **known: told(  # noqa: E731
        network.closed(network.listeners({"listeners": text}), None, settings_with(), set(), **known)
    )
    assert closed(has_tailscale=True) == ["port 25"]
    assert closed() == ["port 19999", "port 9100", "port 25"]
    assert closed(has_tailscale=True, kept={25}) == []


def test_ports_that_containers_publish_are_one_line_with_the_setting(settings_with):
    ports = (25, 143, 587)
    text = "\n".join(f"{address}:{port} docker-proxy x" for port in ports for address in ("0.0.0.0", "[::]"))
    closed = lambda **changes: [  # noqa: E731
        *network.closed(network.listeners({"listeners": text}), {22}, settings_with(**changes), {22})
    ]
    (one,) = closed(firewall_allow=["53/udp"])
    assert one.name == "ports 25, 143, 587"
    assert one.need.startswith('firewall_allow = ["53/udp", "25/tcp", "143/tcp", "587/tcp"]')
    assert closed(firewall_allow=["25/tcp", "143/tcp", "587/tcp"]) == []
    assert told(closed(firewall_allow=["25/tcp"], adopt_without=["port 143"])) == ["port 587"]


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
    assert told(ufw.lost_rules(lines, settings_with(), ["22"])) == ([name] if name else [])
    assert told(ufw.lost_rules(lines[1:], settings_with(), ["22"])) == []


def test_rules_of_one_port_for_many_addresses_are_one_line(settings_with):
    sources = [f"192.0.2.{number}" for number in range(20)]
    rules = [f"### tuple ### allow tcp 443 0.0.0.0/0 any {source} in" for source in sources]
    (one,) = ufw.lost_rules(["ENABLED=yes", OPEN, *rules], settings_with(), ["22"])
    assert (one.name, one.found.startswith("20 rules, for 192.0.2.0, 192.0.2.1, ")) == (
        "ufw allow from 192.0.2.0 to any port 443 proto tcp",
        True,
    )


def test_a_firewall_that_denies_outgoing_traffic_is_named(settings_with):
    lines = ["ENABLED=yes", 'DEFAULT_OUTPUT_POLICY="DROP"', OPEN]
    assert told(ufw.lost_rules(lines, settings_with(), ["22"])) == ["ufw default deny outgoing"]
