"""Listening ports, and from where they can be reached."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from slipway.inspection import nftables, reach
from slipway.inspection.questions import parts
from slipway.inspection.reach import Packet
from slipway.inspection.report import Firewall, Port, Reach, Rule

# UFW's chains, and the kernel's built-in ones.
UFW_CHAIN = re.compile(r"ufw6?-")
BUILT_IN = {"INPUT", "OUTPUT", "FORWARD", "PREROUTING", "POSTROUTING"}


def ports(text: str) -> list[Port]:
    """The ports, from `ss -Hlntup` and the control groups of the processes."""
    found: dict[tuple[str, int, str], Port] = {}
    answer = parts(text)
    groups = dict(line.split(" ", 1) for line in answer.get("groups", []) if " " in line)
    for line in answer[""]:
        fields = line.split()
        if len(fields) < 5 or fields[0] not in ("tcp", "udp"):
            continue
        address, _, number = fields[4].rpartition(":")
        if not number.isdigit():
            continue
        address = address.strip("[]").partition("%")[0]
        program = line.partition('(("')[2].partition('"')[0]
        pid = line.partition("pid=")[2].partition(",")[0]
        key = fields[0], int(number), program
        one = found.setdefault(
            key,
            Port(port=int(number), protocol=fields[0], addresses=[], versions=[], program=program),  # type: ignore[arg-type]
        )
        one.unit = one.unit or _unit(groups.get(pid, ""))
        one.addresses = list(dict.fromkeys([*one.addresses, address]))
        versions = {4, 6} if address == "*" else {6} if ":" in address else {4}
        one.versions = sorted({*one.versions, *versions})
    return sorted(found.values(), key=lambda one: (one.protocol, one.port))


def _unit(group: str) -> str:
    """The systemd unit of a control group, or a container's short id."""
    units: list[str] = re.findall(r"([^/]+\.(?:service|socket|scope))", group)
    container = re.search(r"(docker|libpod)-([0-9a-f]{12})", group)
    return f"{container[1]} {container[2]}" if container else units[-1] if units else ""


def is_local(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def judge(found: Sequence[Port], rules: str, addresses: Sequence[str]) -> None:
    """Set from where each port can be reached, from the answer "firewall", which is empty without root."""
    answer = parts(rules)
    tables = {4: reach.iptables("\n".join(answer[""])), 6: reach.iptables("\n".join(answer.get("v6", [])))}
    native = nftables.tables(answer.get("nft", []))
    is_known = bool(rules.strip())
    for port in found:
        public = [address for address in port.addresses if not is_local(address)]
        if not public:
            port.reach = "local"
        elif is_known:
            judged = {version: _judge(port, version, tables[version], native, addresses) for version in port.versions}
            by = {version: one for version, (one, _) in judged.items()}
            port.reach, port.past_ufw = _widest([*by.values()]), any(past for _, past in judged.values())
            port.reach_by = by if len({*by.values()}) > 1 else {}


def _judge(
    port: Port,
    version: int,
    tables: dict[str, dict[str, reach.Chain]],
    native: list[nftables.Table],
    own: Sequence[str],
) -> tuple[Reach, bool]:
    """The reach by one version of IP, and whether it bypasses UFW."""
    packet = Packet(version, port.protocol, port.port, frozenset(own))
    if _is_translated(tables.get("nat", {}), packet):
        user = tables.get("filter", {}).get("DOCKER-USER")
        # At its end Docker's own rules follow, which accept published ports.
        chains = {"DOCKER-USER": replace(user, policy="accept")} if user else {}
        closes = chains and reach.follow(chains, "DOCKER-USER", packet) != "open"
        return ("unknown" if closes else "open"), True
    ways: list[Reach] = []
    filters = tables.get("filter", {})
    if "INPUT" in filters:
        ways.append(reach.follow(filters, "INPUT", packet))
    for table in native:
        if version in table.versions:
            ways += [reach.follow(table.chains, name, packet) for name in table.inputs]
    return _narrowest(ways), False


def _is_translated(chains: dict[str, reach.Chain], packet: Packet) -> bool:
    """Whether the packet is forwarded to a container: DNAT precedes all input rules."""
    names, seen = ["PREROUTING"], set[str]()
    while names:
        name = names.pop()
        if name in seen or name not in chains:
            continue
        seen.add(name)
        for step in chains[name].steps:
            if step.match(packet) in (reach.Match.YES, reach.Match.SOME):
                if step.does == "translate":
                    return True
                names.append(step.chain)
    return False


def _narrowest(ways: list[Reach]) -> Reach:
    """The reach if all chains must accept."""
    order: list[Reach] = ["closed", "unknown", "limited", "open"]
    return min(ways, key=order.index, default="open")


def _widest(ways: list[Reach]) -> Reach:
    order: list[Reach] = ["open", "unknown", "limited", "closed"]
    return min(ways, key=order.index, default="unknown")


def rules_after(rules: str, expected: Sequence[str]) -> str:
    """The answer "firewall" once UFW is enabled with other rules; `expected` are lines of iptables-save, with IPv6's.
    The kernel's other chains are kept."""
    answer = parts(rules)
    both = [
        _table_after(lines, chain, [line for line in expected if line.startswith(f"-A {chain} ")])
        for lines, chain in ((answer[""], "ufw-user-input"), (answer.get("v6", []), "ufw6-user-input"))
    ]
    return "\n".join([*both[0], "== v6", *both[1], "== nft", *answer.get("nft", [])])


def _table_after(lines: list[str], chain: str, own: list[str]) -> list[str]:
    there, rest = _split(lines, "filter")
    gone = (f"-A {chain} ", ":INPUT ", "*filter", "COMMIT", "#")
    left = [line for line in there if not line.startswith(gone)]
    # UFW appends its chains to existing rules.
    is_on = any(f"-j {chain}" in line for line in left)
    added = [] if is_on else [f":{chain} -", f"-A INPUT -j {chain}"]
    return [*rest, "*filter", ":INPUT DROP", *left, *added, *own, "COMMIT"]


def _split(lines: list[str], name: str) -> tuple[list[str], list[str]]:
    """The lines of one of iptables-save's tables, and those of the others."""
    found: list[str] = []
    others: list[str] = []
    is_in = False
    for line in lines:
        is_in = line.strip() == f"*{name}" if line.startswith("*") else is_in
        (found if is_in else others).append(line)
    return found, others


def firewall(ufw: dict[str, object], rules: str) -> Firewall:
    """UFW's rules, and the kernel's other ones."""
    added = ufw.get("rules", [])
    assert isinstance(added, list)
    return Firewall(
        seen=bool(rules.strip()),
        active=bool(ufw.get("active")),
        defaults=str(ufw.get("defaults", "")),
        rules=[Rule(text=str(one)) for one in added],
        others=[Rule(text=text) for text in _others(parts(rules))],
    )


def _others(answer: dict[str, list[str]]) -> list[str]:
    found = []
    for what, lines in (("iptables", answer[""]), ("ip6tables", answer.get("v6", []))):
        table = ""
        counts: dict[str, int] = {}
        for line in lines:
            if line.startswith("*"):
                table = line[1:].strip()
            elif line.startswith("-A "):
                chain, _, rest = line[3:].partition(" ")
                is_ufws = UFW_CHAIN.match(chain) or (chain in BUILT_IN and re.search(r"-[jg] ufw6?-", rest))
                if not is_ufws:
                    counts[f"{table} {chain}"] = counts.get(f"{table} {chain}", 0) + 1
        found += [f"{what} {name}: {_rules(count)}" for name, count in counts.items()]
    for native in nftables.tables(answer.get("nft", [])):
        found.append(f"nft {native.family} {native.name}: {_rules(native.rules)}")
    return found


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count} rules"
