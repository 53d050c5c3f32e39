"""Firewalls other than UFW, and services whose ports UFW would close."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slipway.adoption import Obstacle, own_services
from slipway.settings.model import Settings

# Chains that do not conflict with UFW: its own, bans, and containers.
BENIGN = re.compile(r"ufw6?-|f2b-|fail2ban-|DOCKER|KUBE-|LIBVIRT_|ts-|sshguard")
# Programs of ordinary images that need no open port.
IGNORED = {"sshd", "systemd-resolve", "rpcbind", "avahi-daemon", "dhclient", "systemd-network", "systemd", "init"}
ANYBODY = ("0.0.0.0/0", "::/0", "any")
LOOPBACK = re.compile(r"127\.|\[?::1\]?$|\[::ffff:127\.")


@dataclass(frozen=True)
class Listener:
    """A listening socket; the unit is "" if its program is in none."""

    address: str
    port: int
    program: str
    unit: str = ""

    @property
    def is_public(self) -> bool:
        return not LOOPBACK.match(self.address)


def input_rules(lines: Sequence[str]) -> list[str]:
    """The rules for incoming traffic, from iptables-save's output, except those of BENIGN chains."""
    rules = [line for line in lines if line.startswith("-A INPUT ")]
    return [rule for rule in rules if not BENIGN.match(rule.partition(" -j ")[2])]


def packages(earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    for package in earlier.get("packages", "").split():
        yield Obstacle(f"package {package}", "a firewall that UFW replaces, with its rules", f"apt-get purge {package}")


def others(earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    """Rules that UFW does not show."""
    if rules := earlier.get("legacy", "").splitlines():
        found = f"{len(rules)} rules that apply besides those of iptables, {rules[0]!r} the first"
        yield Obstacle("iptables-legacy", found, "only UFW: iptables-legacy -F INPUT, and nothing that loads them")
    for rule in earlier.get("redirects", "").splitlines():
        found = "a rule that redirects port 80 or 443 to a program other than Nginx"
        yield Obstacle(f"iptables -t nat {rule}", found, "a server block of Nginx instead: iptables -t nat -D", False)


def obstacles(lines: Sequence[str], chains: Sequence[str]) -> Iterator[Obstacle]:
    """`lines` are of iptables-save, `chains` are nftables base chains for incoming traffic: "inet filter input"."""
    refusing = [rule for rule in input_rules(lines) if re.search(r" -j (REJECT|DROP)\b", rule)]
    accepting = [rule for rule in input_rules(lines) if rule not in refusing]
    for rule in refusing:
        found = "a rule that precedes UFW's, whatever UFW allows"
        need = "only UFW: iptables -P INPUT ACCEPT; iptables -F INPUT, and no file that loads such rules at boot"
        yield Obstacle(f"iptables {rule}", found, need, may_go=_is_narrow(rule))
    for rule in accepting:
        target = rule.rpartition(" -j ")[2].split(" ")[0]
        if target not in ("ACCEPT", "LOG", "NFLOG", "RETURN", "MARK"):
            yield Obstacle(f"iptables {rule}", "a chain of another firewall", "only UFW: iptables -F INPUT")
        elif not refusing and re.search(r"--dports? ", rule) and target == "ACCEPT":
            found = "an open port that UFW does not know"
            yield Obstacle(f"iptables {rule}", found, "it in firewall_allow, and not in iptables")
    for chain in chains:
        found = "an nftables chain besides UFW's, which may refuse what UFW allows"
        need = "only UFW: systemctl disable --now nftables; nft delete table (its family and name)"
        yield Obstacle(f"nft {chain}", found, need)


def _is_narrow(rule: str) -> bool:
    """Whether a rule is limited to some address, interface or port."""
    return bool(re.search(r" (-s|-i|--dports?|--ctstate|--state) ", rule))


def listeners(earlier: Mapping[str, str]) -> list[Listener]:
    """The listeners in facts.Earlier."""
    found = []
    for line in earlier.get("listeners", "").splitlines():
        where, program, unit = [*line.split(" "), "", ""][:3]
        address, _, port = where.rpartition(":")
        found.append(Listener(address, int(port), program, unit))
    return found


def open_ports(lines: Sequence[str]) -> set[int] | None:
    """The TCP ports that UFW opens now, by the lines of its files; None if it is disabled, or opens all of them to some
    address."""
    if "ENABLED=yes" not in lines:
        return None
    found: set[int] = set()
    for line in lines:
        words = line.split()
        if not line.startswith("### tuple ### ") or words[3] not in ("allow", "limit") or words[4] == "udp":
            continue
        if words[5] == "any":
            return None
        for part in words[5].split(","):
            first, _, last = part.partition(":")
            found |= {*range(int(first), int(last or first) + 1)}
    return found


def closed(
    sockets: Sequence[Listener], is_open: set[int] | None, settings: Settings, ours: Collection[int]
) -> Iterator[Obstacle]:
    """Programs that are reachable now and whose ports the firewall would close. `is_open` is from `open_ports`, `ours`
    are Slipway's own ports."""
    allowed = {int(one.partition("/")[0]) for one in settings.firewall_allow if one.endswith("/tcp")}
    own_units = own_services(settings)
    for one in sockets:
        is_reached = one.is_public and (is_open is None or one.port in is_open)
        is_known = one.port in {*allowed, *ours} or one.program in IGNORED or one.unit in own_units
        if one.is_public and one.program == "docker-proxy" and not is_known:
            # Docker's rules precede those for incoming traffic.
            found = "a container's port, which Docker opens to everybody, past the firewall"
            need = f'"{one.port}/tcp" in firewall_allow, or publish it as 127.0.0.1:{one.port}'
            yield Obstacle(f"port {one.port}", found, need)
        elif is_reached and not is_known:
            found = f"{one.program or 'a program'} listening publicly, which the firewall would block"
            yield Obstacle(f"port {one.port}", found, f'"{one.port}/tcp" in firewall_allow')


def refused(lines: Sequence[str]) -> Iterator[Obstacle]:
    """UFW's rules that deny an address, and would be removed with all others."""
    for line in lines:
        words = line.split()
        if line.startswith("### tuple ### ") and words[3] in ("deny", "reject") and words[8] not in ANYBODY:
            found = "a rule that denies an address, for which Slipway has no setting"
            yield Obstacle(f"ufw {words[3]} from {words[8]}", found, "it in the provider's firewall")
