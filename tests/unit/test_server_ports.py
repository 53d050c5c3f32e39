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
