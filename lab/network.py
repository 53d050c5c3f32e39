"""One bridge with a way out: addresses, NAT, and nothing left behind.

All NAT rules are in one nftables table of ours, so that one command removes them; where another firewall drops what
it does not know, two rules there let the bridge pass and bear our name. Hosts are isolated ports of the
bridge: they reach the gateway and the world, not each other.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lab.instance import Instance, folder_lock, write
from lab.steps import StepFailed, run

POOL = ipaddress.ip_network("10.213.0.0/16")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def free_subnet(taken: Iterable[str]) -> ipaddress.IPv4Network:
    """The first /24 of the pool that overlaps none of the networks in `taken`."""
    used = [ipaddress.ip_network(network, strict=False) for network in taken]
    for subnet in POOL.subnets(new_prefix=24):
        if not any(subnet.overlaps(network) for network in used if network.version == 4):
            return ipaddress.IPv4Network(subnet)
    raise StepFailed("Find a free network", f"every /24 of {POOL} is in use on this machine")


def rules(table: str, bridge: str, subnet: str) -> str:
    """The nftables script that gives the bridge a way out."""
    return f"""
table ip {table}
delete table ip {table}
table ip {table} {{
  chain out {{ type nat hook postrouting priority srcnat; ip saddr {subnet} oifname != "{bridge}" masquerade; }}
  # Isolated ports do not meet on the bridge; this machine must not route between them either.
  chain apart {{ type filter hook forward priority filter; iifname "{bridge}" oifname "{bridge}" drop; }}
}}
"""


def passages(ruleset: Sequence[dict[str, Any]], comment: str, bridge: str) -> str:
    """The nftables script that lets the bridge through every chain that drops what it does not know.

    Docker and UFW set such a policy for all that a machine forwards, and an "accept" in a table of ours does not
    overrule it. `ruleset` is what `nft -j list ruleset` found.
    """
    chains = [entry["chain"] for entry in ruleset if "chain" in entry]
    lines = closed(ruleset, comment)
    for chain in chains:
        if (chain.get("hook"), chain.get("policy")) == ("forward", "drop") and chain["family"] in ("ip", "inet"):
            insert = f"insert rule {chain['family']} {chain['table']} {chain['name']}"
            lines.append(f'{insert} iifname "{bridge}" accept comment "{comment}"')
            lines.append(f'{insert} oifname "{bridge}" ct state established,related accept comment "{comment}"')
    return "".join(f"{line}\n" for line in lines)


def closed(ruleset: Sequence[dict[str, Any]], comment: str) -> list[str]:
    """The nftables commands that remove our passages again."""
    rules = [entry["rule"] for entry in ruleset if entry.get("rule", {}).get("comment") == comment]
    return [f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}" for r in rules]


def _ruleset() -> list[dict[str, Any]]:
    return list(json.loads(run("List the firewall's rules", ["nft", "-j", "list", "ruleset"]))["nftables"])


def bridge_mac(name: str) -> str:
    """A fixed address: the kernel's own choice changes as hosts come and go, and the others lose their gateway."""
    return "02:" + hashlib.sha256(name.encode()).digest()[:5].hex(":")


def _remember(lab: Instance) -> dict[str, str]:
    """What this lab uses and what it found, chosen at its first start."""
    remembered = lab.state / "network.json"
    # Labs that start at the same time must not choose the same network.
    with folder_lock(lab.state.parent):
        if not remembered.exists():
            routes = json.loads(run("List the routes", ["ip", "-j", "route", "show", "table", "all"]))
            taken = [route["dst"] for route in routes if route["dst"] != "default" and ":" not in route["dst"]]
            taken += [json.loads(other.read_text())["subnet"] for other in lab.state.parent.glob("*/network.json")]
            write(remembered, json.dumps({"subnet": str(free_subnet(taken)), "forward": FORWARD.read_text().strip()}))
    return dict(json.loads(remembered.read_text()))


def up(lab: Instance) -> ipaddress.IPv4Network:
    """The bridge, its address (the first of the network) and NAT; whatever is there already stays. Returns the /24."""
    memory = _remember(lab)
    links = {link["ifname"] for link in json.loads(run("List the interfaces", ["ip", "-j", "link"]))}
    subnet = ipaddress.IPv4Network(memory["subnet"])
    if lab.bridge not in links:
        mac = bridge_mac(lab.bridge)
        run("Make the bridge", ["ip", "link", "add", lab.bridge, "address", mac, "type", "bridge"])
    run("Give the bridge its address", ["ip", "addr", "replace", f"{subnet[1]}/24", "dev", lab.bridge])
    run("Start the bridge", ["ip", "link", "set", lab.bridge, "up"])
    if FORWARD.read_text().strip() != "1":
        FORWARD.write_text("1")
    run("Set the NAT rules", ["nft", "-f", "-"], input=rules(lab.table, lab.bridge, str(subnet)))
    run("Pass the firewall", ["nft", "-f", "-"], input=passages(_ruleset(), lab.table, lab.bridge))
    return subnet


def down(lab: Instance) -> None:
    """Remove the bridge and the rules, and put forwarding back as it was if no other lab is up."""
    links = {link["ifname"] for link in json.loads(run("List the interfaces", ["ip", "-j", "link"]))}
    if lab.bridge in links:
        run("Remove the bridge", ["ip", "link", "delete", lab.bridge])
    if f"table ip {lab.table}\n" in run("List the NAT tables", ["nft", "list", "tables"]) + "\n":
        run("Remove the NAT rules", ["nft", "delete", "table", "ip", lab.table])
    run("Close the firewall", ["nft", "-f", "-"], input="\n".join(closed(_ruleset(), lab.table)) + "\n")
    remembered = lab.state / "network.json"
    with folder_lock(lab.state.parent):
        if remembered.exists():
            others = [path for path in lab.state.parent.glob("*/network.json") if path != remembered]
            before = json.loads(remembered.read_text())["forward"]
            if not others:
                FORWARD.write_text(before)
            elif before == "0":
                # Another lab is up and found forwarding on because of us: it is the one to switch it off.
                for other in others:
                    write(other, json.dumps({**json.loads(other.read_text()), "forward": "0"}))
            remembered.unlink()
