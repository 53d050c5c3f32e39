"""Open ports from outside, over IPv4 and IPv6: all listening ports and common ones are tried."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from slipway.adoption.ufw import accepts_all, has_tailscale, kept_ports

# A forwarded port (of a container) has no listener on the host.
OFTEN = {21, 25, 53, 111, 3000, 3306, 5432, 6379, 8000, 8001, 8080, 8443, 27017}


def expected(server) -> set[int]:
    """The public ports, and that of ssh."""
    web = {80, 443} if {"lb", "web"} & {*server.groups} and server.settings.is_public else set()
    allowed = {
        int(port) for port, _, kind in (rule.partition("/") for rule in server.settings.firewall_allow) if kind == "tcp"
    }
    return {server.settings.sshd_port, *web, *allowed}


def may_be_open(server) -> set[int]:
    """The ports in adopt_without, as those of containers stay open, and those of rules that an adoption keeps."""
    names = (re.fullmatch(r"ports? (.+)", name) for name in server.settings.adopt_without)
    named = {int(port) for name in names if name for port in name[1].split(", ") if port.isdigit()}
    return named | kept_ports(kept_rules(server))


def skip_if_let_in(server, address: str) -> None:
    """Leave the check out where a rule that an adoption keeps opens every port to this machine: a VPN, an office."""
    shown = server.host.check_output("ip -o addr show | awk '{print $4, $2}'").splitlines()
    devices = {one.partition("/")[0]: one.split()[1] for one in shown}
    device = devices.get(address, "")
    if device.startswith("tailscale"):
        chain = server.host.run("iptables -S INPUT").stdout.splitlines()
        if has_tailscale(chain):
            pytest.skip(f"by {device} every port is open")
    peers = server.host.check_output(f"ss -Htn state established 'sport = :{server.way.port}' | awk '{{print $4}}'")
    sources = {one.rpartition(":")[0].strip("[]").removeprefix("::ffff:") for one in peers.split()}
    if accepts_all(kept_rules(server), device, sources):
        pytest.skip("a rule in /etc/ufw/before.rules opens every port to this machine, or to another that is logged in")


def kept_rules(server) -> list[str]:
    return server.host.run("cat /etc/ufw/before.rules /etc/ufw/before6.rules").stdout.splitlines()


def answering(server, address: str) -> set[int]:
    """The open ports of an address. Raises OSError if this machine has no route to it."""
    listening = server.host.check_output("ss -Hltn | awk '{print $4}'").splitlines()
    ports = sorted({int(socket.rpartition(":")[2]) for socket in listening} | OFTEN | expected(server))

    def answers(port: int) -> bool:
        try:
            with socket.create_connection((address, port), timeout=2):
                return True
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                raise
            return False

    with ThreadPoolExecutor(len(ports)) as pool:
        return {port for port, yes in zip(ports, pool.map(answers, ports), strict=True) if yes}


def check(server, figure, what: str, address: str) -> None:
    found, wanted = answering(server, address), expected(server)
    if server.settings.firewall_ssh_from:  # this machine may not be among those
        found |= {server.settings.sshd_port}
    allowed = {int(rule.partition("/")[0]) for rule in server.settings.firewall_allow}
    found |= wanted & allowed  # open, possibly without a listener
    found -= {port for port in may_be_open(server) if port not in wanted}
    shown = ", ".join(map(str, sorted(found)))
    figure(f"ports answering from outside, {what}", shown, ", ".join(map(str, sorted(wanted))), found == wanted)


def test_only_the_configured_ports_are_open(server, figure):
    if server.way.port != server.settings.sshd_port:
        pytest.skip("its ports are forwarded: closed ones may be open elsewhere")
    if ":" in server.address:
        pytest.skip("the inventory has it by its IPv6 address")
    try:
        address = str(socket.getaddrinfo(server.address, None, socket.AF_INET)[0][4][0])
    except socket.gaierror as error:
        pytest.skip(f"the server's name has no IPv4 address: {error.strerror}")
    if ipaddress.ip_address(address).is_loopback:
        pytest.skip("some ports are forwarded from a loopback address: other open ports are this machine's own")
    skip_if_let_in(server, address)
    check(server, figure, "IPv4", address)


def test_the_same_ports_are_open_over_ipv6(server, figure):
    shown = server.host.check_output("ip -6 -o addr show scope global | awk '{print $4}'").split()
    if not shown:
        pytest.skip("the server has no IPv6 address")
    address = shown[0].partition("/")[0]
    skip_if_let_in(server, address)
    try:
        check(server, figure, "IPv6", address)
    except OSError as error:
        pytest.skip(f"this machine has no route to the server's IPv6 address: {error.strerror}")
