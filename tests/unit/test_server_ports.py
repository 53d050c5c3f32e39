"""The check of open ports from outside: what it leaves out, and which ports may be open besides."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from slipway.server_tests import test_ports as ports


def test_a_name_without_an_ipv4_address_leaves_the_check_out_and_says_why(monkeypatch):
    def getaddrinfo(*_):
        raise socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    server = SimpleNamespace(address="v6.example", way=SimpleNamespace(port=22), settings=SimpleNamespace(sshd_port=22))
    with pytest.raises(pytest.skip.Exception, match="no IPv4 address: No address"):
        ports.test_only_the_configured_ports_are_open(server, figure=None)


def test_ports_that_adopt_without_names_may_be_open():
    named = ["port 3000", "ports 25, 143, 53/udp", "port 80/udp", "container shop"]
    host = SimpleNamespace(run=lambda _: SimpleNamespace(stdout="-A ufw-before-input -p tcp --dport 8443 -j ACCEPT"))
    server = SimpleNamespace(settings=SimpleNamespace(adopt_without=named), host=host)
    assert ports.may_be_open(server) == {3000, 25, 143, 8443}


@pytest.mark.parametrize(
    ("address", "rule", "chain", "is_skipped"),
    [
        ("203.0.113.5", "", "", False),
        ("203.0.113.5", "-s 192.0.2.0/24", "", True),
        ("203.0.113.5", "-s 198.51.100.1", "", False),
        ("203.0.113.5", "-s 192.0.2.0/24 -p tcp --dport 9000", "", False),
        ("203.0.113.5", "-i wg0", "", False),
        ("10.8.0.1", "-i wg0", "", True),
        ("100.64.0.7", "", "-A INPUT -j ts-input", True),
        ("100.64.0.7", "", "", False),
    ],
)
def test_where_every_port_is_open_to_this_machine_the_check_is_left_out(address, rule, chain, is_skipped):
    answers = {
        "ip -o addr": "203.0.113.5/24 eth0\n10.8.0.1/24 wg0\n100.64.0.7/32 tailscale0",
        "ss -Htn": "192.0.2.9:50000\n",
        "cat /etc/ufw": f"-A ufw-before-input {rule} -j ACCEPT" if rule else "",
        "iptables": chain,
    }
    find = lambda command: next(text for start, text in answers.items() if command.startswith(start))  # noqa: E731
    host = SimpleNamespace(run=lambda command: SimpleNamespace(stdout=find(command)), check_output=find)
    server = SimpleNamespace(host=host, way=SimpleNamespace(port=22))
    try:
        ports.skip_if_let_in(server, address)
    except pytest.skip.Exception:
        assert is_skipped
    else:
        assert not is_skipped
