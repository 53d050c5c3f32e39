"""Firewalls other than UFW, and services whose ports UFW would close."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from slipway.adoption import Obstacle, own_services, setting, ufw
from slipway.settings.fail2ban import is_spared
from slipway.settings.model import Settings

# Chains that do not conflict with UFW: its own, bans, and containers.
BENIGN = re.compile(r"ufw6?-|f2b-|fail2ban-|DOCKER|KUBE-|LIBVIRT_|ts-|sshguard|CROWDSEC")
# Packages that load iptables' rules at boot, as on Oracle's images.
PERSISTENT = ("netfilter-persistent", "iptables-persistent")
# Sets of banned addresses (ipset(8)), of fail2ban, sshguard and CrowdSec.
BANNED = re.compile(r" --match-set (f2b-|fail2ban-|sshguard|crowdsec)")
# Programs of ordinary images that need no open port.
IGNORED = {
    *("sshd", "systemd-resolve", "rpcbind", "avahi-daemon", "dhclient", "dhcpcd", "systemd-network"),
    *("ntpd", "chronyd", "systemd-timesyn", "NetworkManager", "tailscaled"),
}
# Process 1, and units of ordinary images whose sockets it listens on: sshd's ports are those of its settings.
INIT = {"systemd", "init"}
IGNORED_SOCKETS = {"ssh.socket", "sshd.socket", "rpcbind.socket", "avahi-daemon.socket"}
# Linux's ports for sockets that ask for none, ip(7), and programs that have such ones for long, of which nobody asks
# anything: resolvers, clients of logs and statistics, VPNs' and tunnels' ways out. A runtime's program says too little.
EPHEMERAL = range(32768, 61000)
WIREGUARD = 51820
CLIENTS = {
    *("named", "unbound", "dnsmasq", "pdns_recursor", "kresd", "stubby", "dnscrypt-proxy", "squid", "haproxy", "nginx"),
    *("rsyslogd", "syslog-ng", "fluent-bit", "vector", "telegraf", "collectd", "netdata", "snmpd", "promtail", "agent"),
    *(
        "rpc.statd",
        "rpc.mountd",
        "cloudflared",
        "tailscaled",
        "zerotier-one",
        "netbird",
        "dhcpcd",
        "chronyd",
        "mosh-server",
    ),
    *("node", "bun", "deno", "java", "php", "ruby", "perl", "dotnet", "gunicorn", "uvicorn", "celery"),
}
RUNTIME = re.compile(r"python|php|node|MainThread")
# IP protocols of tunnels and routers, protocols(5).
PROTOCOLS = {4: "ipencap", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 89: "ospf", 103: "pim", 112: "vrrp", 115: "l2tp"}
# In a value of fail2ban's, the value of an earlier file: %(known/ignoreip)s.
REFERENCE = re.compile(r"%\(([\w-]+/)?ignoreip\)s")
LOOPBACK = re.compile(r"127\.|\[?::1\]?$|\[::ffff:127\.")


@dataclass(frozen=True)
class Listener:
    """A listening socket; the unit is "" if its program is in none."""

    address: str
    port: int
    program: str
    unit: str = ""
    protocol: str = "tcp"

    @property
    def is_public(self) -> bool:
        return not LOOPBACK.match(self.address)


def input_rules(lines: Sequence[str]) -> list[str]:
    """The rules for incoming traffic, from iptables-save's output, except those of BENIGN chains and of bans."""
    rules = [line for line in lines if line.startswith("-A INPUT ")]
    return [rule for rule in rules if not (BENIGN.match(rule.partition(" -j ")[2]) or BANNED.search(rule))]


def packages(names: Collection[str], lines: Sequence[str]) -> Iterator[Obstacle]:
    """Other firewalls. `lines` are of iptables-save."""
    loading = [name for name in PERSISTENT if name in names]
    if loading:
        # One line for the rules and what loads them at boot: each alone would come again.
        refusing = _refusing(lines)
        found = "rules that it loads at boot, which UFW replaces"
        if refusing:
            found += f", {refusing[0]!r} among them, which precedes UFW's"
        need = f"only UFW: apt-get purge -y {' '.join(loading)}"
        need += " && for tool in iptables ip6tables; do $tool -P INPUT ACCEPT && $tool -F INPUT; done"
        yield Obstacle(f"package {loading[0]}", found, need, may_go=all(map(_is_narrow, refusing)))
    for package in names:
        if package not in PERSISTENT:
            found, need = "a firewall that UFW replaces, with its rules", f"apt-get purge {package}"
            yield Obstacle(f"package {package}", found, need)


def others(earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    """Rules that UFW does not show."""
    if rules := earlier.get("legacy", "").splitlines():
        found = f"{len(rules)} rules that apply besides those of iptables, {rules[0]!r} the first"
        yield Obstacle("iptables-legacy", found, "only UFW: iptables-legacy -F INPUT, and nothing that loads them")
    if earlier.get("flushes"):
        found = "it enabled: at boot it loads /etc/nftables.conf, which removes or precedes UFW's rules"
        yield Obstacle("nftables.service", found, "systemctl disable nftables")
    for rule in earlier.get("forwarded", "").splitlines():
        found = "traffic that the server forwards, which UFW's default denies"
        need = 'DEFAULT_FORWARD_POLICY="ACCEPT" in /etc/default/ufw (apt-get install ufw), which is kept'
        yield Obstacle(rule, found, need)
    for rule in earlier.get("redirects", "").splitlines():
        found = "a rule that redirects port 80 or 443 to a program other than Nginx"
        need = "a server block of Nginx instead: iptables -t nat -D"
        if rule.startswith("-A CNI-"):
            # Whatever made the rule makes it again.
            need = "it on another port, behind Nginx (k3s: --disable=servicelb, and Traefik's NodePort)"
        yield Obstacle(f"iptables -t nat {rule}", found, need, False)


def _refusing(lines: Sequence[str]) -> list[str]:
    return [rule for rule in input_rules(lines) if re.search(r" -j (REJECT|DROP)\b", rule)]


def obstacles(lines: Sequence[str], chains: Sequence[str], names: Collection[str] = ()) -> Iterator[Obstacle]:
    """`lines` are of iptables-save, `chains` are nftables base chains for incoming traffic: "inet filter input",
    `names` are installed packages: `packages` reports the rules that one of them loads."""
    refusing = _refusing(lines)
    accepting = [rule for rule in input_rules(lines) if rule not in refusing]
    for rule in [] if {*PERSISTENT} & {*names} else refusing:
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


def bans(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """Whom fail2ban does not ban now, and would."""
    missing, others = [], []
    for word in dict.fromkeys(_spared(earlier.get("ignored", "").splitlines())):
        name = word.lower().rstrip(".")
        if _is_address(word):
            network = ip_network(word, strict=False)
            if not network.is_loopback and not _covers(settings.fail2ban_ignore, network):
                missing.append(str(network))
        elif not is_spared(name):
            others += [word] if name != "localhost" else []
        elif name not in settings.fail2ban_ignore:
            missing.append(name)
    if missing:
        need = setting("fail2ban_ignore", [*settings.fail2ban_ignore, *missing])
        yield Obstacle("fail2ban: ignoreip", f"{', '.join(missing)}, which would be banned like others", need)
    for word in others:
        found = "it, whose addresses would be banned like others"
        yield Obstacle(f"fail2ban: ignoreip {word}", found, "its addresses in fail2ban_ignore")


def _spared(lines: Sequence[str]) -> Iterator[str]:
    """What counts for Slipway's jails: their own lines, or else those for all. The last line counts, and what it
    refers to of the ones before."""
    values: dict[str, list[str]] = {}
    for line in lines:
        jail, *words = line.split()
        before = values.get(jail, values.get("DEFAULT", [])) if any(REFERENCE.search(word) for word in words) else []
        values[jail] = [*before, *(word for word in words if not REFERENCE.search(word))]
    for jail in ("sshd", "nginx-limit-req"):
        yield from values.get(jail, values.get("DEFAULT", []))


def _covers(spared: Sequence[str], network: IPv4Network | IPv6Network) -> bool:
    known = [ip_network(one) for one in spared if _is_address(one)]
    return any(network[0] in one and network.prefixlen >= one.prefixlen for one in known)


def _is_address(word: str) -> bool:
    try:
        ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def _is_narrow(rule: str) -> bool:
    """Whether a rule is limited to some address, interface or port."""
    return bool(re.search(r" (-s|-i|--dports?|--ctstate|--state) ", rule))


def listeners(earlier: Mapping[str, str]) -> list[Listener]:
    """The TCP listeners in facts.Earlier."""
    return [one for one in _sockets(earlier.get("listeners", ""), "tcp") if one.program or _is_chosen(one, earlier)]


def by_unit(sockets: Sequence[Listener], earlier: Mapping[str, str]) -> list[Listener]:
    """The same, with the unit as the program of each socket that systemd listens on until somebody connects."""
    units: dict[tuple[int, str], str] = {}
    for line in earlier.get("activated", "").splitlines():
        where, kind, unit = line.split()
        units[int(where.rpartition(":")[2]), "udp" if kind == "Datagram" else "tcp"] = unit
    return [
        replace(one, program=units.get((one.port, one.protocol), one.program)) if one.program in INIT else one
        for one in sockets
    ]


def local_sockets(earlier: Mapping[str, str]) -> dict[str, str]:
    """The unit, or else the program, of each listening socket of the file system, by its path."""
    lines = [[*line.split(" "), "", ""][:3] for line in earlier.get("local", "").splitlines()]
    return {path: unit or program for path, program, unit in lines}


def datagrams(earlier: Mapping[str, str]) -> list[Listener]:
    """The UDP sockets in facts.Earlier that others may send to."""
    later = {*_sockets(earlier.get("later datagrams", ""), "udp")}
    found = _sockets(earlier.get("datagrams", ""), "udp")
    return [one for one in found if _is_chosen(one, earlier) or (one.program and one in later and _serves(one))]


def _is_chosen(one: Listener, earlier: Mapping[str, str]) -> bool:
    """Whether a socket has no ephemeral port, or one without a program, the kernel's, has one by a configuration."""
    chosen = {*earlier.get("chosen", "").split(), str(WIREGUARD)}
    return one.port not in EPHEMERAL or (not one.program and str(one.port) in chosen)


def _serves(one: Listener) -> bool:
    """Whether a program with an ephemeral port has probably asked for it: a game, a VPN, a TURN server."""
    return one.program not in CLIENTS and not RUNTIME.match(one.program)


def _sockets(text: str, protocol: str) -> list[Listener]:
    found = []
    for line in text.splitlines():
        where, program, unit = [*line.split(" "), "", ""][:3]
        address, _, port = where.rpartition(":")
        found.append(Listener(address, int(port), program, unit, protocol))
    return found


def restarted(earlier: Mapping[str, str], ours: Collection[int]) -> Iterator[Obstacle]:
    """Stopped containers that would take Slipway's ports at boot."""
    for line in earlier.get("containers", "").splitlines():
        name, *ports = line.split()
        if held := sorted({int(port) for port in ports if port.isdigit()} & {*ours}):
            found = f"it stopped, and Docker starts it again at boot, on port {', '.join(map(str, held))}"
            yield Obstacle(f"container {name}", found, f"docker update --restart=no {name}")


def closed(
    sockets: Sequence[Listener],
    is_open: set[int] | None,
    settings: Settings,
    ours: Collection[int],
    kept: Collection[int] = (),
    *,
    has_tailscale: bool = False,
) -> Iterator[Obstacle]:
    """Programs that are reachable now and whose ports the firewall would close. `is_open` is from `ufw.open_ports`,
    `ours` are Slipway's own ports, `kept` those that the owner's before.rules open."""
    own_units = own_services(settings)
    ignored = IGNORED | INIT | IGNORED_SOCKETS | {f"{unit.removesuffix('.service')}.socket" for unit in own_units}
    published: dict[str, str] = {}
    for one in sockets:
        is_reached = one.is_public and (is_open is None or one.port in is_open)
        is_own = one.program in ignored or one.unit in own_units or (one.protocol == "tcp" and one.port in ours)
        is_kept = one.port in kept or (has_tailscale and _is_of_tailscale(one))
        if is_own or f"{one.port}/{one.protocol}" in settings.firewall_allow:
            continue
        name = f"port {one.port}" if one.protocol == "tcp" else f"port {one.port}/{one.protocol}"
        if one.is_public and one.program == "docker-proxy":
            if name not in settings.adopt_without:
                published[name.removeprefix("port ")] = f"{one.port}/{one.protocol}"
        elif is_reached and not is_kept:
            by = one.program or ("a program" if one.protocol == "tcp" else "the kernel (a VPN?)")
            found = f"{by} listening publicly, which the firewall would block"
            yield Obstacle(name, found, f'"{one.port}/{one.protocol}" in firewall_allow')
    if published:
        # Docker's rules precede those for incoming traffic.
        found = "a container's port, which Docker opens to everybody, past the firewall"
        need = setting("firewall_allow", [*settings.firewall_allow, *published.values()])
        name = f"port{'s' if len(published) > 1 else ''} {', '.join(published)}"
        yield Obstacle(name, found, f"{need}, or the container's port published as 127.0.0.1:PORT")


def _is_of_tailscale(one: Listener) -> bool:
    try:
        address = ip_address(one.address.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return any(address in ip_network(network) for network in ufw.TAILSCALE)


def protocols(earlier: Mapping[str, str], lines: Sequence[str]) -> Iterator[Obstacle]:
    """IP protocols that others reach now, and that no setting opens. `lines` are of UFW's files."""
    words = [line.split() for line in earlier.get("protocols", "").splitlines()]
    is_open = {name for first, name in words if first == "open"}
    if "ENABLED=yes" in lines and ufw.ALLOWS_ALL not in lines:
        # UFW closes the others now, too.
        ruled = {rule.protocol for rule in ufw.rules(lines) if rule.opens}
        words = [word for word in words if PROTOCOLS.get(_number(word[0])) in ruled]
    programs: dict[int, list[str]] = {}
    for first, program in words:
        if (number := _number(first)) in PROTOCOLS and not {str(number), PROTOCOLS[number]} & is_open:
            programs.setdefault(number, []).append(program)
    for number, names in programs.items():
        found = f"{', '.join(dict.fromkeys(names))} receiving IP protocol {number}, which the firewall would block"
        need = "`-A ufw-before-input -p NUMBER -j ACCEPT` above COMMIT in /etc/ufw/before.rules (apt-get install ufw)"
        yield Obstacle(f"protocol {PROTOCOLS[number]}", found, f"{need.replace('NUMBER', str(number))}, which is kept")


def _number(word: str) -> int:
    return int(word) if word.isdigit() else 0
