"""Which ports can be reached through the host's firewall: its rules are simulated for a new connection from outside.

A rule that can't be evaluated makes the result "unknown", and one for some source addresses only "limited". A
provider's firewall is not visible from the host.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_network

from slipway.inspection.report import Reach

# Of nested chains.
MAX_DEPTH = 50


class Match(Enum):
    """Whether a rule matches a packet."""

    YES = "yes"
    NO = "no"
    # Only for some source addresses, or for all but some.
    SOME = "some"
    MOST = "most"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, on the interface to the Internet."""

    version: int
    protocol: str
    port: int
    # The host's own.
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Step:
    """A rule: its match, and its action: accept, drop, return, translate, jump or goto with a chain, "" if evaluation
    continues."""

    match: Callable[[Packet], Match]
    does: str
    chain: str = ""


@dataclass
class Chain:
    policy: str = "accept"
    steps: list[Step] = field(default_factory=list)


@dataclass
class _Walk:
    # Some source addresses were accepted; all but some were dropped.
    some_accepted: bool = False
    most_dropped: bool = False
    # The actions of rules that can't be evaluated.
    unknown: set[str] = field(default_factory=set)


def follow(chains: dict[str, Chain], start: str, packet: Packet) -> Reach:
    """The result for a packet that enters the chain `start`."""
    walk = _Walk()
    end = _through(chains, start, packet, walk, 0) or chains[start].policy
    if end == "accept":
        return "unknown" if "drop" in walk.unknown else "limited" if walk.most_dropped else "open"
    return "unknown" if "accept" in walk.unknown else "limited" if walk.some_accepted else "closed"


def _through(chains: dict[str, Chain], name: str, packet: Packet, walk: _Walk, depth: int) -> str:
    """ "accept" or "drop" if the chain decides, "" if it returns."""
    if name not in chains or depth > MAX_DEPTH:
        walk.unknown |= {"accept", "drop"}
        return ""
    return _along(chains, chains[name].steps, packet, walk, depth)


def _along(chains: dict[str, Chain], steps: Sequence[Step], packet: Packet, walk: _Walk, depth: int) -> str:
    for number, step in enumerate(steps):
        match = step.match(packet)
        if match == Match.NO or step.does in ("", "translate"):
            continue
        inner = walk if match == Match.YES else _Walk()
        end = step.does
        if end in ("jump", "goto"):
            end = _through(chains, step.chain, packet, inner, depth + 1)
        if match == Match.YES:
            if end == "return" or (step.does == "goto" and not end):
                return ""
            if end:
                return end
        elif match == Match.UNKNOWN:
            walk.unknown |= {end} | inner.unknown
        elif match == Match.SOME:
            walk.some_accepted |= end == "accept" or inner.some_accepted
        elif end == "accept":
            return end
        elif end == "return":
            # Only the other source addresses continue.
            rest = _along(chains, steps[number + 1 :], packet, inner, depth)
            walk.some_accepted |= rest == "accept" or inner.some_accepted
            return ""
        else:
            walk.most_dropped |= end == "drop"
    return ""


def is_outside(interface: str) -> bool:
    """Whether an interface may be the one to the Internet, rather than one of containers or tunnels."""
    return not interface.startswith(
        ("lo", "docker", "br-", "veth", "virbr", "lxc", "lxd", "cni", "wg", "tun", "tailscale")
    )


def from_network(text: str) -> Match:
    """Whether the source address is in a network."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return Match.UNKNOWN
    return Match.YES if network.prefixlen == 0 else Match.NO if network.is_loopback else Match.SOME


def to_address(text: str, packet: Packet) -> Match:
    """Whether a packet to the host has this destination."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return Match.UNKNOWN
    if network.is_multicast or network.is_loopback or text == "255.255.255.255":
        return Match.NO
    hit = any(ip_network(one).subnet_of(network) for one in packet.addresses if (":" in one) == (":" in text))  # type: ignore[arg-type]
    return Match.YES if network.prefixlen == 0 or hit else Match.NO


def in_ports(text: str, port: int) -> bool:
    """Whether a port is in "80,443,8000:8100"."""
    for part in text.split(","):
        low, _, high = part.partition(":")
        if low.isdigit() and int(low) <= port <= int(high if high.isdigit() else low):
            return True
    return False


def all_of(matches: Iterable[Match]) -> Match:
    """Whether all of a rule's conditions hold."""
    found = [*matches]
    for one in (Match.NO, Match.UNKNOWN, Match.SOME, Match.MOST):
        if one in found:
            return one
    return Match.YES


def negated(match: Match, by: bool) -> Match:
    if not by:
        return match
    other = {Match.YES: Match.NO, Match.SOME: Match.MOST}
    return (other | {there: here for here, there in other.items()}).get(match, match)


# --- iptables-save ----------------------------------------------------------------------------------------------------

ENDS = {
    "ACCEPT": "accept",
    "DROP": "drop",
    "REJECT": "drop",
    "RETURN": "return",
    "DNAT": "translate",
    "REDIRECT": "translate",
}
LEADS_ON = {"LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TRACE", "CT", "AUDIT", "TCPMSS", "SET", ""}


def iptables(text: str) -> dict[str, dict[str, Chain]]:
    """The chains of each table in the output of iptables-save."""
    tables: dict[str, dict[str, Chain]] = {}
    chains: dict[str, Chain] = {}
    for line in text.split("\n"):
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = Chain(ENDS.get(policy, ""))
        elif line.startswith("-A "):
            words = _words(line)
            chains.setdefault(words[1], Chain("")).steps.append(_step(words[2:]))
    return tables


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _step(words: list[str]) -> Step:
    conditions: list[tuple[bool, str, list[str]]] = []
    target, does_goto = "", False
    negation = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negation = True
            continue
        values = []
        while at < len(words) and not words[at].startswith("-") and words[at] != "!":
            values.append(words[at])
            at += 1
        if word in ("-j", "-g"):
            target, does_goto = (values or [""])[0], word == "-g"
            break  # the target's options follow
        conditions.append((negation, word, values))
        negation = False

    def match(packet: Packet) -> Match:
        return all_of(negated(_holds(option, values, packet), by) for by, option, values in conditions)

    if target in ENDS:
        return Step(match, ENDS[target])
    if target in LEADS_ON:
        return Step(match, "")
    return Step(match, "goto" if does_goto else "jump", target)


# Never true for a first packet from outside: a source port, a later packet, a flood.
NEVER = {
    *("--sport", "--sports", "--tcp-flags", "--update", "--rcheck", "--icmp-type", "--icmpv6-type"),
    *("--rt-type", "--fragment", "-f"),
}
# Always true: a module's name, a comment, a rate that is not exceeded.
ALWAYS = {
    *("-m", "--match", "--comment", "--set", "--name", "--mask", "--rsource", "--syn", "--limit-iface-in"),
    *("--limit", "--limit-burst", "--seconds", "--hitcount", "--hashlimit-upto", "--connlimit-upto"),
}


def _holds(option: str, values: list[str], packet: Packet) -> Match:
    value = values[0] if values else ""
    yes = {True: Match.YES, False: Match.NO}
    if option in ("-i", "--in-interface"):
        return yes[is_outside(value)]
    if option in ("-s", "--source"):
        return from_network(value)
    if option in ("-d", "--destination"):
        return to_address(value, packet)
    if option in ("-p", "--protocol"):
        return yes[value in (packet.protocol, "all")]
    if option in ("--dport", "--dports", "--destination-ports"):
        return yes[in_ports(value, packet.port)]
    if option in ("--ctstate", "--state"):
        return yes["NEW" in value.split(",")]
    if option == "--dst-type":
        return yes[not {"LOCAL", "UNICAST"}.isdisjoint(value.split(","))]
    if option == "--match-set":
        return Match.SOME
    if option in NEVER:
        return Match.NO
    return Match.YES if option in ALWAYS else Match.UNKNOWN
