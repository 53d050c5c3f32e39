"""The native nftables tables, by `nft -j list table`, besides those that iptables shows.

https://manpages.debian.org/bookworm/libnftables1/libnftables-json.5.en.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from slipway.inspection.reach import Chain, Match, Packet, Step, all_of, from_network, is_outside, negated, to_address

# Stands for a table that can't be parsed: what it accepts is unknown.
UNREADABLE: list[dict[str, Any]] = [
    {"table": {"family": "inet", "name": "(unreadable)"}},
    {"chain": {"name": "?", "type": "filter", "hook": "input", "policy": "drop"}},
]
VERSIONS = {"inet": (4, 6), "ip": (4,), "ip6": (6,)}


class Table:
    """One table: its chains, and the names of its base chains for incoming traffic."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        head = next(one["table"] for one in found if "table" in one)
        self.family, self.name = str(head["family"]), str(head["name"])
        self.chains: dict[str, Chain] = {}
        self.inputs: list[str] = []
        self.rules = 0
        for one in (one["chain"] for one in found if "chain" in one):
            self.chains[one["name"]] = Chain("drop" if one.get("policy") == "drop" else "accept")
            if one.get("hook") == "input" and one.get("type") == "filter":
                self.inputs.append(one["name"])
        for one in (one["rule"] for one in found if "rule" in one):
            self.rules += 1
            self.chains.setdefault(one["chain"], Chain()).steps += _steps(one.get("expr", []))

    @property
    def versions(self) -> tuple[int, ...]:
        return VERSIONS.get(self.family, ())


def tables(lines: list[str]) -> list[Table]:
    """The tables of an answer, one per line."""
    found = []
    for line in lines:
        try:
            found.append(Table(json.loads(line)["nftables"]))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            found.append(Table(UNREADABLE))
            found[-1].chains["?"].steps.append(Step(lambda packet: Match.UNKNOWN, "accept"))
    return found


def _steps(expressions: list[dict[str, Any]]) -> list[Step]:
    """A rule as steps: one for its verdict, or one for each entry of its verdict map."""
    conditions: list[dict[str, Any]] = []
    limited = False
    for expression in expressions:
        kind, value = next(iter(expression.items()))
        if kind == "match":
            conditions.append(value)
        elif kind in ("limit", "xt", "fib", "socket"):
            limited = limited or kind != "limit"
        elif kind in ("accept", "drop", "reject", "return", "jump", "goto"):
            does = "drop" if kind == "reject" else kind
            target = value.get("target", "") if kind in ("jump", "goto") else ""
            return [Step(_match(conditions, limited), does, target)]
        elif kind == "vmap":
            return [*_of_map(conditions, value, limited)]
    return []


def _of_map(conditions: list[dict[str, Any]], value: dict[str, Any], limited: bool) -> Iterator[Step]:
    pairs = value.get("data", {})
    for key, verdict in pairs.get("set", []) if isinstance(pairs, dict) else []:
        kind, target = next(iter(verdict.items()))
        its = [*conditions, {"op": "==", "left": value["key"], "right": key}]
        does = "drop" if kind == "reject" else kind
        if does in ("accept", "drop", "return", "jump", "goto"):
            yield Step(_match(its, limited), does, (target or {}).get("target", ""))


def _match(conditions: list[dict[str, Any]], is_unknown: bool) -> Callable[[Packet], Match]:
    def match(packet: Packet) -> Match:
        found = [_holds(one, packet) for one in conditions]
        return all_of([*found, Match.UNKNOWN] if is_unknown else found)

    return match


def _holds(condition: dict[str, Any], packet: Packet) -> Match:
    left, right = condition.get("left", {}), condition.get("right")
    found = _of_left(left, right, packet) if isinstance(left, dict) else Match.UNKNOWN
    return negated(found, condition.get("op") == "!=")


def _of_left(left: dict[str, Any], right: Any, packet: Packet) -> Match:
    payload, key = left.get("payload", {}), left.get("ct", left.get("meta", {})).get("key")
    protocol, name = payload.get("protocol"), payload.get("field")
    if protocol in ("tcp", "udp", "th") and name == "dport":
        return _yes(protocol in (packet.protocol, "th") and _has(right, packet.port))
    if protocol in ("tcp", "udp", "th", "icmp", "icmpv6"):
        return Match.NO
    if protocol in ("ip", "ip6"):
        if (protocol == "ip6") != (packet.version == 6):
            return Match.NO
        if name == "saddr":
            # A set holds allowed or banned addresses: some.
            return from_network(_network(right)) if _network(right) else Match.SOME
        if name == "daddr":
            return to_address(_network(right), packet) if _network(right) else Match.UNKNOWN
        if name in ("protocol", "nexthdr"):
            return _yes(_has(right, packet.protocol))
        return Match.UNKNOWN
    if "ct" in left and key == "state":
        return _yes(_has(right, "new"))
    if key in ("iif", "iifname"):
        names = right.get("set", []) if isinstance(right, dict) else [right]
        return _yes(any(isinstance(one, str) and is_outside(one) for one in names))
    if key == "l4proto":
        return _yes(_has(right, packet.protocol))
    if key == "nfproto":
        return _yes(_has(right, f"ipv{packet.version}"))
    if key == "protocol":
        return _yes(_has(right, "ip6" if packet.version == 6 else "ip"))
    if key == "pkttype":
        return _yes(_has(right, "unicast") or _has(right, "host"))
    return Match.UNKNOWN


def _yes(holds: bool) -> Match:
    return Match.YES if holds else Match.NO


def _has(right: Any, value: Any) -> bool:
    if isinstance(right, dict):
        if "set" in right:
            return any(_has(one, value) for one in right["set"])
        if "range" in right and isinstance(value, int):
            low, high = right["range"]
            return isinstance(low, int) and low <= value <= high
        return False
    if isinstance(right, list):
        return any(_has(one, value) for one in right)
    return bool(right == value)


def _network(right: Any) -> str:
    """An address or network in nft's JSON, "" for a set or a range of them."""
    if isinstance(right, dict) and "prefix" in right:
        return f"{right['prefix']['addr']}/{right['prefix']['len']}"
    return right if isinstance(right, str) and not right.startswith("@") else ""
