"""The network of a lab: as root a bridge with NAT, removed without a trace; without root only loopback.

All NAT rules are in one nftables table of ours, so that one command removes them; where another firewall drops what
it does not know, two rules there let the bridge pass and bear our name. Hosts are isolated ports of the
bridge: they reach the gateway and the world, not each other, unless `lab connect` has connected them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.lab.instance import Instance, folder_lock, write
from slipway.lab.steps import StepFailed, run

POOL = ipaddress.ip_network("10.213.0.0/16")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# A container's systemd and services take 6 to 10 of root's 128, and a boot without any fails.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# Kernel settings of this machine and the minimum that a lab with root needs, by the names of their saved values.
KERNEL = {"forward": (FORWARD, 1), "inotify": (INOTIFY, 1024)}
NO_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
# The services of a lab, on the lab's address.
SERVICES = {"acme": 14000, "acme-management": 15000, "dns": 8053, "dns-management": 8055, "mirror": 8090}
# The same on loopback, where each lab has its own ports, below the ephemeral range.
FIRST_LOOPBACK_PORT = 20000
# Without root, ports below 1024 are not available: hosts answer at 8022, 8080 and 8443.
UNPRIVILEGED_OFFSET = 8000


# So many labs of a user have numbers that no other user's labs begin at.
LABS_OF_USER = 16


@dataclass(frozen=True)
class Network:
    """A lab's addresses and ports; `number` identifies it among the labs of this machine."""

    number: int
    is_bridged: bool

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """The /24 of the bridge."""
        return ipaddress.IPv4Network(f"10.213.{self.number}.0/24")

    @property
    def subnet6(self) -> ipaddress.IPv6Network:
        """The same for IPv6: unique local addresses (RFC 4193), not routed beyond this machine."""
        return ipaddress.IPv6Network(f"fd5b:a0f6:5c1d:{self.number:x}::/64")

    @property
    def listen(self) -> str:
        """The address on this machine that the lab's services listen on."""
        return str(self.subnet[1]) if self.is_bridged else "127.0.0.1"

    @property
    def gateway(self) -> str:
        """The same address as seen by hosts; qemu's user network maps 10.0.2.2 to loopback."""
        return self.listen if self.is_bridged else "10.0.2.2"

    def port(self, service: str) -> int:
        """The port of one of SERVICES."""
        if self.is_bridged:
            return SERVICES[service]
        return FIRST_LOOPBACK_PORT + len(SERVICES) * self.number + list(SERVICES).index(service)

    @property
    def acme_directory(self) -> str:
        """The URL of the ACME directory as seen by hosts."""
        return f"https://{self.gateway}:{self.port('acme')}/dir"

    @property
    def offset(self) -> int:
        """The offset of a virtual machine's forwarded ports."""
        return 0 if self.is_bridged else UNPRIVILEGED_OFFSET


def free_subnet(taken: Iterable[str], first: int = 0) -> ipaddress.IPv4Network:
    """The first /24 of the pool, from number `first` on, that overlaps none of the networks in `taken`."""
    used = [ipaddress.ip_network(network, strict=False) for network in taken]
    subnets = [*POOL.subnets(new_prefix=24)]
    for subnet in [*subnets[first:], *subnets[:first]]:
        if not any(subnet.overlaps(network) for network in used if network.version == 4):
            return ipaddress.IPv4Network(subnet)
    raise StepFailed("Find a free network", f"every /24 of {POOL} is in use on this machine")


def first_number(user: int) -> int:
    """Where the search for a lab's network begins for a user, by the user's id: what the labs of others use on loopback
    can't be seen while they are down."""
    return user * LABS_OF_USER % 256


def connected(lab: Instance) -> Path:
    """A file that exists once some of the lab's hosts reach each other."""
    return lab.state / "connected"


def connect(lab: Instance) -> None:
    """Let hosts reach each other, as far as the bridge's rules are concerned."""
    connected(lab).touch()
    run("Set the NAT rules", ["nft", "-f", "-"], input=rules(lab.table, lab.bridge, str(of(lab).subnet), False))


def rules(table: str, bridge: str, subnet: str, is_apart: bool = True) -> str:
    """The nftables script for the bridge's NAT."""
    # Also of what the bridge itself passes on, where the kernel shows it to these (bridge-nf-call-iptables).
    verdict = "drop" if is_apart else "accept"
    return f"""
table ip {table}
delete table ip {table}
table ip {table} {{
  chain out {{ type nat hook postrouting priority srcnat; ip saddr {subnet} oifname != "{bridge}" masquerade; }}
  # Isolated ports do not reach each other on the bridge; this machine must not route between them either.
  chain apart {{ type filter hook forward priority filter; iifname "{bridge}" oifname "{bridge}" {verdict}; }}
}}
"""


def passages(ruleset: Sequence[dict[str, Any]], comment: str, bridge: str) -> str:
    """The nftables script that accepts the bridge's traffic in every chain whose policy is drop.

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
    """The nftables commands that remove these rules."""
    rules = [entry["rule"] for entry in ruleset if entry.get("rule", {}).get("comment") == comment]
    return [f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}" for r in rules]


def _ruleset() -> list[dict[str, Any]]:
    return list(json.loads(run("List the firewall's rules", ["nft", "-j", "list", "ruleset"]))["nftables"])


def bridge_mac(name: str) -> str:
    """A fixed address: the kernel's choice changes as hosts come and go, and the others would lose their gateway."""
    return "02:" + hashlib.sha256(name.encode()).digest()[:5].hex(":")


def of(lab: Instance) -> Network:
    """The recorded network of a lab."""
    remembered = json.loads((lab.state / "network.json").read_text())
    return Network(_number(remembered["subnet"]), remembered.get("is_bridged", True))


def _number(subnet: str) -> int:
    return int(subnet.split(".")[2])


def _remember(lab: Instance) -> dict[str, Any]:
    """The network that this lab uses and the previous kernel settings, chosen at its first start."""
    remembered = lab.state / "network.json"
    # Labs that start at the same time must not choose the same network.
    with folder_lock(lab.state.parent):
        if not remembered.exists():
            others = [json.loads(other.read_text())["subnet"] for other in lab.state.parent.glob("*/network.json")]
            is_bridged = os.geteuid() == 0
            first = first_number(os.geteuid())
            taken = [*others, *(_routes() if is_bridged else _in_use_on_loopback(first))]
            subnet = free_subnet(taken, first)
            found = {name: path.read_text().strip() for name, (path, _) in KERNEL.items()}
            write(remembered, json.dumps({"subnet": str(subnet), "is_bridged": is_bridged, **found}))
    return dict(json.loads(remembered.read_text()))


def _routes() -> list[str]:
    routes = json.loads(run("List the routes", ["ip", "-j", "route", "show", "table", "all"]))
    return [route["dst"] for route in routes if route["dst"] != "default" and ":" not in route["dst"]]


def _in_use_on_loopback(first: int) -> list[str]:
    """The networks whose loopback ports another user's lab uses, from number `first` up to one that nobody does."""
    found = []
    for number in [*range(first, 256), *range(first)]:
        network = Network(number, is_bridged=False)
        with suppress(OSError):
            for service in SERVICES:
                with socket.create_server((network.listen, network.port(service))):
                    pass
            break
        found.append(str(network.subnet))
    return found


def up(lab: Instance) -> Network:
    """Create the lab's network: as root the bridge, its address (the first of the network) and NAT; idempotent."""
    _remember(lab)
    network = of(lab)
    if network.is_bridged:
        _bridge_up(lab, network)
    return network


def has_ipv6() -> bool:
    """Whether this machine's kernel has IPv6 enabled."""
    return NO_IPV6.exists() and NO_IPV6.read_text().strip() == "0"


def _bridge_up(lab: Instance, network: Network) -> None:
    subnet = network.subnet
    links = {link["ifname"] for link in json.loads(run("List the interfaces", ["ip", "-j", "link"]))}
    if lab.bridge not in links:
        mac = bridge_mac(lab.bridge)
        run("Make the bridge", ["ip", "link", "add", lab.bridge, "address", mac, "type", "bridge"])
    run("Give the bridge its address", ["ip", "addr", "replace", f"{subnet[1]}/24", "dev", lab.bridge])
    if has_ipv6():
        address = f"{network.subnet6[1]}/64"
        run("Give the bridge its address", ["ip", "addr", "replace", address, "dev", lab.bridge, "nodad"])
    run("Start the bridge", ["ip", "link", "set", lab.bridge, "up"])
    for path, least in KERNEL.values():
        if int(path.read_text()) < least:
            path.write_text(str(least))
    is_apart = not connected(lab).exists()
    run("Set the NAT rules", ["nft", "-f", "-"], input=rules(lab.table, lab.bridge, str(subnet), is_apart))
    run("Pass the firewall", ["nft", "-f", "-"], input=passages(_ruleset(), lab.table, lab.bridge))


def forget(lab: Instance, number: int) -> None:
    """Forget the hardware address of the host that had this number before.

    The kernel would send to it for ten seconds more (RFC 4861, 7.3: DELAY_FIRST_PROBE_TIME and three probes), and a
    new host announces itself by IPv4 alone.
    """
    network = of(lab)
    for address in (network.subnet[number], network.subnet6[number]) if network.is_bridged else ():
        run("Forget the address of the host before", ["ip", "neigh", "flush", "to", str(address)])


def down(lab: Instance) -> None:
    """Remove the bridge and the rules, and restore the kernel settings if no other lab is up."""
    remembered = lab.state / "network.json"
    if os.geteuid() != 0:
        remembered.unlink(missing_ok=True)
        return
    links = {link["ifname"] for link in json.loads(run("List the interfaces", ["ip", "-j", "link"]))}
    if lab.bridge in links:
        run("Remove the bridge", ["ip", "link", "delete", lab.bridge])
    if f"table ip {lab.table}\n" in run("List the NAT tables", ["nft", "list", "tables"]) + "\n":
        run("Remove the NAT rules", ["nft", "delete", "table", "ip", lab.table])
    run("Close the firewall", ["nft", "-f", "-"], input="\n".join(closed(_ruleset(), lab.table)) + "\n")
    with folder_lock(lab.state.parent):
        if remembered.exists():
            _give_back_settings(remembered)
            remembered.unlink()


def _give_back_settings(remembered: Path) -> None:
    others = [path for path in remembered.parents[1].glob("*/network.json") if path != remembered]
    found = json.loads(remembered.read_text())
    changed = {name: found[name] for name, (_, least) in KERNEL.items() if int(found.get(name, least)) < least}
    if not others:
        for name, before in changed.items():
            KERNEL[name][0].write_text(before)
    # Another lab is up and restores them.
    for other in others:
        write(other, json.dumps({**json.loads(other.read_text()), **changed}))
