"""Firewalls beside UFW, and services that UFW would close."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slipway.adoption import Obstacle, own_services
from slipway.settings.model import Settings

# Chains that are no firewall: those of UFW, bans, and containers.
BENIGN = re.compile(r"ufw6?-|f2b-|fail2ban-|DOCKER|KUBE-|LIBVIRT_|ts-|sshguard")
# Programs that only the own network or nobody needs, and that an ordinary image has.
IGNORED = {"sshd", "systemd-resolve", "rpcbind", "avahi-daemon", "dhclient", "systemd-network", "systemd", "init"}
ANYBODY = ("0.0.0.0/0", "::/0", "any")
LOOPBACK = re.compile(r"127\.|\[?::1\]?$|\[::ffff:127\.")


@dataclass(frozen=True)
class Listener:
    """A socket that accepts connections; the unit is "" where its program is in none."""

    address: str
    port: int
    program: str
    unit: str = ""

    @property
    def is_public(self) -> bool:
        return not LOOPBACK.match(self.address)


def input_rules(lines: Sequence[str]) -> list[str]:
    """The rules for what comes in that are nobody's of BENIGN, from what iptables-save prints."""
    rules = [line for line in lines if line.startswith("-A INPUT ")]
    return [rule for rule in rules if not BENIGN.match(rule.partition(" -j ")[2])]


def packages(earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    for package in earlier.get("packages", "").split():
        yield Obstacle(f"package {package}", "a firewall that UFW replaces, with its rules", f"apt-get purge {package}")


def others(earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    """Rules that nobody sees who looks at UFW's."""
    if rules := earlier.get("legacy", "").splitlines():
        found = f"{len(rules)} rules that count beside those of iptables, {rules[0]!r} the first"
        yield Obstacle("iptables-legacy", found, "UFW alone: iptables-legacy -F INPUT, and nothing that loads them")
    for rule in earlier.get("redirects", "").splitlines():
        found = "a rule that leads the web's ports to another program than Nginx"
        yield Obstacle(
            f"iptables -t nat {rule}", found, "a server block of Nginx's that does: iptables -t nat -D", False
        )


def obstacles(lines: Sequence[str], chains: Sequence[str]) -> Iterator[Obstacle]:
    """`lines` are of iptables-save, `chains` base chains of nftables for what comes in: "inet filter input"."""
    refusing = [rule for rule in input_rules(lines) if re.search(r" -j (REJECT|DROP)\b", rule)]
    accepting = [rule for rule in input_rules(lines) if rule not in refusing]
    for rule in refusing:
        found = "a rule that comes before UFW's, whatever these allow"
        need = "UFW alone: iptables -P INPUT ACCEPT; iptables -F INPUT, and no file that loads such rules at boot"
        yield Obstacle(f"iptables {rule}", found, need, may_go=_is_narrow(rule))
    for rule in accepting:
        target = rule.rpartition(" -j ")[2].split(" ")[0]
        if target not in ("ACCEPT", "LOG", "NFLOG", "RETURN", "MARK"):
            yield Obstacle(f"iptables {rule}", "a chain of another firewall's", "UFW alone: iptables -F INPUT")
        elif not refusing and re.search(r"--dports? ", rule) and target == "ACCEPT":
            found = "a port that is open beside UFW's rules"
            yield Obstacle(f"iptables {rule}", found, "it in firewall_allow, and not in iptables")
    for chain in chains:
        found = "a chain of nftables beside UFW's, which may refuse what UFW allows"
        need = "UFW alone: systemctl disable --now nftables; nft delete table (its family and name)"
        yield Obstacle(f"nft {chain}", found, need)


def _is_narrow(rule: str) -> bool:
    """Whether a rule is about some address, interface or port, and not about all that comes."""
    return bool(re.search(r" (-s|-i|--dports?|--ctstate|--state) ", rule))


def listeners(earlier: Mapping[str, str]) -> list[Listener]:
    """Those in the facts of facts.Earlier."""
    found = []
    for line in earlier.get("listeners", "").splitlines():
        where, program, unit = [*line.split(" "), "", ""][:3]
        address, _, port = where.rpartition(":")
        found.append(Listener(address, int(port), program, unit))
    return found


def open_ports(lines: Sequence[str]) -> set[int] | None:
    """The ports that UFW opens for TCP now, by the lines of its files; None where it is off, or opens all of them to
    somebody."""
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
    """Programs that others reach now and that the firewall would close. `is_open` is by `open_ports`, `ours` are the
    ports of Slipway's own."""
    allowed = {int(one.partition("/")[0]) for one in settings.firewall_allow if one.endswith("/tcp")}
    own_units = own_services(settings)
    for one in sockets:
        is_reached = one.is_public and (is_open is None or one.port in is_open)
        is_known = one.port in {*allowed, *ours} or one.program in IGNORED or one.unit in own_units
        if one.is_public and one.program == "docker-proxy" and not is_known:
            # Docker's rules come before those for what comes in.
            found = "a container's, which Docker opens for everybody, past the firewall"
            need = f'"{one.port}/tcp" in firewall_allow, or 127.0.0.1:{one.port} in what the container publishes'
            yield Obstacle(f"port {one.port}", found, need)
        elif is_reached and not is_known:
            found = f"{one.program or 'a program'} listening for others, whom the firewall would shut out"
            yield Obstacle(f"port {one.port}", found, f'"{one.port}/tcp" in firewall_allow')


def refused(lines: Sequence[str]) -> Iterator[Obstacle]:
    """Rules of UFW's own that turn somebody away, and would be removed with all others."""
    for line in lines:
        words = line.split()
        if line.startswith("### tuple ### ") and words[3] in ("deny", "reject") and words[8] not in ANYBODY:
            found = "a rule that turns an address away, and that Slipway's firewall has no setting for"
            yield Obstacle(f"ufw {words[3]} from {words[8]}", found, "it in the provider's firewall")
