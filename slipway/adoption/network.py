"""Firewalls other than UFW, and services whose ports UFW would close."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

from slipway.adoption import Obstacle, own_services, setting
from slipway.settings.model import Settings

# Chains that do not conflict with UFW: its own, bans, and containers.
BENIGN = re.compile(r"ufw6?-|f2b-|fail2ban-|DOCKER|KUBE-|LIBVIRT_|ts-|sshguard|CROWDSEC")
# Sets of banned addresses (ipset(8)), of fail2ban, sshguard and CrowdSec.
BANNED = re.compile(r" --match-set (f2b-|fail2ban-|sshguard|crowdsec)")
# Programs of ordinary images that need no open port.
IGNORED = {
    *("sshd", "systemd-resolve", "rpcbind", "avahi-daemon", "dhclient", "dhcpcd", "systemd-network"),
    *("ntpd", "chronyd", "systemd-timesyn", "NetworkManager"),
}
# Process 1, and units of ordinary images whose sockets it listens on: sshd's ports are those of its settings.
INIT = {"systemd", "init"}
IGNORED_SOCKETS = {"ssh.socket", "sshd.socket", "rpcbind.socket", "avahi-daemon.socket"}
# Linux's ports for sockets that ask for none, ip(7), and programs that have such ones for long, of which nobody asks
# anything: resolvers, clients of logs and statistics, VPNs' and tunnels' ways out. A runtime's program says too little.
EPHEMERAL = range(32768, 61000)
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
ANYBODY = ("0.0.0.0/0", "::/0", "any")
ALLOWS_ALL = 'DEFAULT_INPUT_POLICY="ACCEPT"'
BEFORE_RULES = "it in /etc/ufw/before.rules, which is kept"
BEFORE_RULE = re.compile(r"-[AI] ufw6?-before-input (?=.*-p tcp ).*--dports? ([0-9,:]+) (?=.*-j ACCEPT\b)")
# IP protocols of tunnels and routers, protocols(5).
PROTOCOLS = {4: "ipencap", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 89: "ospf", 103: "pim", 112: "vrrp", 115: "l2tp"}
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


def packages(earlier: Mapping[str, str]) -> Iterator[Obstacle]:
    for package in earlier.get("packages", "").split():
        yield Obstacle(f"package {package}", "a firewall that UFW replaces, with its rules", f"apt-get purge {package}")


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


def bans(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """Addresses that fail2ban does not ban now, and would."""
    found = [ip_network(word, strict=False) for word in earlier.get("ignored", "").split() if _is_address(word)]
    known = [ip_network(one) for one in settings.fail2ban_ignore]
    missing = [str(one) for one in dict.fromkeys(found) if not one.is_loopback and one not in known]
    if missing:
        need = setting("fail2ban_ignore", [*settings.fail2ban_ignore, *missing])
        yield Obstacle("fail2ban: ignoreip", f"{', '.join(missing)}, which would be banned like others", need)


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
    return _sockets(earlier.get("listeners", ""), "tcp")


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
    """The UDP sockets in facts.Earlier that others may send to. One without a program is the kernel's: a WireGuard."""
    later = {*_sockets(earlier.get("later datagrams", ""), "udp")}
    found = _sockets(earlier.get("datagrams", ""), "udp")
    return [one for one in found if one.port not in EPHEMERAL or not one.program or (one in later and _serves(one))]


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


def open_ports(lines: Sequence[str], protocol: str = "tcp") -> set[int] | None:
    """The ports of a protocol that UFW opens now, by the lines of its files; None if it is disabled, or opens all of
    them to some address."""
    if "ENABLED=yes" not in lines or ALLOWS_ALL in lines:
        return None
    found: set[int] = set()
    for rule in ufw_rules(lines):
        if not (rule.opens and rule.direction.startswith("in") and rule.protocol in ("any", protocol)):
            continue
        if rule.port == "any":
            return None
        found |= _ports(rule.port)
    return found


def _ports(text: str) -> set[int]:
    """The ports of a rule: "80,8000:8010"."""
    ranges = [part.partition(":") for part in text.split(",")]
    return {port for first, _, last in ranges for port in range(int(first), int(last or first) + 1)}


def kept_ports(lines: Iterable[str]) -> set[int]:
    """The TCP ports that rules in /etc/ufw/before.rules open, possibly to some addresses alone."""
    found = (BEFORE_RULE.match(line) for line in lines)
    return {port for rule in found if rule for port in _ports(rule[1])}


def closed(
    sockets: Sequence[Listener], is_open: set[int] | None, settings: Settings, ours: Collection[int]
) -> Iterator[Obstacle]:
    """Programs that are reachable now and whose ports the firewall would close. `is_open` is from `open_ports`, `ours`
    are Slipway's own ports."""
    own_units = own_services(settings)
    ignored = IGNORED | INIT | IGNORED_SOCKETS | {f"{unit.removesuffix('.service')}.socket" for unit in own_units}
    for one in sockets:
        is_reached = one.is_public and (is_open is None or one.port in is_open)
        is_own = one.program in ignored or one.unit in own_units or (one.protocol == "tcp" and one.port in ours)
        if is_own or f"{one.port}/{one.protocol}" in settings.firewall_allow:
            continue
        name = f"port {one.port}" if one.protocol == "tcp" else f"port {one.port}/{one.protocol}"
        if one.is_public and one.program == "docker-proxy":
            # Docker's rules precede those for incoming traffic.
            found = "a container's port, which Docker opens to everybody, past the firewall"
            need = f'"{one.port}/{one.protocol}" in firewall_allow, or publish it as 127.0.0.1:{one.port}'
            yield Obstacle(name, found, need)
        elif is_reached:
            by = one.program or ("a program" if one.protocol == "tcp" else "the kernel (a VPN?)")
            found = f"{by} listening publicly, which the firewall would block"
            yield Obstacle(name, found, f'"{one.port}/{one.protocol}" in firewall_allow')


def protocols(earlier: Mapping[str, str], lines: Sequence[str]) -> Iterator[Obstacle]:
    """IP protocols that others reach now, and that no setting opens. `lines` are of UFW's files."""
    words = [line.split() for line in earlier.get("protocols", "").splitlines()]
    is_open = {name for first, name in words if first == "open"}
    if "ENABLED=yes" in lines and ALLOWS_ALL not in lines:
        # UFW closes the others now, too.
        ruled = {rule.protocol for rule in ufw_rules(lines) if rule.opens}
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


@dataclass(frozen=True)
class Rule:
    """A rule of UFW's, from the line of its files that describes it ("### tuple ###")."""

    action: str
    protocol: str
    port: str
    target: str
    source: str
    direction: str
    is_routed: bool

    @property
    def opens(self) -> bool:
        return self.action in ("allow", "limit") and not self.is_routed

    @property
    def is_narrow(self) -> bool:
        """Whether it is limited to some addresses or to an interface."""
        return {self.source, self.target} - {*ANYBODY} != set() or "_" in self.direction

    def __str__(self) -> str:
        way, _, interface = self.direction.replace("!out_", " out on ").partition("_")
        words = ["ufw", *(["route"] if self.is_routed else []), self.action]
        words += [way] if way != "in" or interface else []
        words += ["on", interface] if interface else []
        source, target = ("any" if one in ANYBODY else one for one in (self.source, self.target))
        words += ["from", source] if source != "any" else []
        words += ["to", target] if target != "any" or self.port != "any" else []
        words += ["port", self.port] if self.port != "any" else []
        words += ["proto", self.protocol] if self.protocol != "any" else []
        return " ".join(words)


def ufw_rules(lines: Sequence[str]) -> list[Rule]:
    """The rules in the lines of UFW's files."""
    found = []
    for line in lines:
        if line.startswith("### tuple ### "):
            words = [word for word in line.split()[3:] if not word.startswith("comment=")]
            routed, _, action = words[0].rpartition(":")
            # With a profile's name there are two fields more before the last one.
            protocol, port, target, _, source = words[1:6]
            found.append(Rule(action.partition("_")[0], protocol, port, target, source, words[-1], bool(routed)))
    return found


def lost_rules(
    lines: Sequence[str], settings: Settings, ssh_ports: Collection[str], ours: Collection[str] = ()
) -> Iterator[Obstacle]:
    """UFW's rules that would be removed with all others, and whose effect no setting has; `ours` stay."""
    if "ENABLED=yes" not in lines:
        return
    ruled = [rule for rule in ufw_rules(lines) if str(rule).removeprefix("ufw ") not in ours]
    if 'DEFAULT_OUTPUT_POLICY="DROP"' in lines or 'DEFAULT_OUTPUT_POLICY="REJECT"' in lines:
        found = "a default that refuses outgoing traffic, which Slipway's does not"
        yield Obstacle("ufw default deny outgoing", found, "ufw default allow outgoing")
    is_ssh_open = ALLOWS_ALL in lines or any(
        rule.opens and rule.direction == "in" and not rule.is_narrow
        for rule in ruled
        if {*rule.port.split(",")} & {*ssh_ports, "any"}
    )
    to_ssh: list[Rule] = []
    to_others: dict[tuple[str, str, str], list[Rule]] = {}
    for rule in ruled:
        if rule.is_routed:
            found = "a rule for forwarded traffic, for which Slipway has no setting"
            yield Obstacle(str(rule), found, BEFORE_RULES)
        elif rule.direction.startswith("out"):
            if not rule.opens:
                found = "a rule that denies outgoing traffic, for which Slipway has no setting"
                yield Obstacle(str(rule), found, BEFORE_RULES)
        elif rule.is_narrow and not rule.opens:
            found = "a rule that denies an address, for which Slipway has no setting"
            yield Obstacle(str(rule), found, f"it in the provider's firewall, or {BEFORE_RULES}")
        elif rule.is_narrow and rule.direction != "in_lo":
            if rule.source not in ANYBODY and rule.port in ssh_ports:
                to_ssh.append(rule)
            else:
                to_others.setdefault((rule.port, rule.protocol, rule.direction), []).append(rule)
    missing = [rule.source for rule in to_ssh if rule.source not in settings.firewall_ssh_from]
    if missing and not is_ssh_open:
        found = f"it open to {', '.join(missing)}, and would be open to all"
        yield Obstacle("ufw: ssh", found, setting("firewall_ssh_from", [*settings.firewall_ssh_from, *missing]))
    for rules in to_others.values():
        found = "a rule for some addresses or an interface, which firewall_allow does not have"
        if len(rules) > 1:
            sources = ", ".join(rule.source for rule in rules)
            found = f"{len(rules)} rules, for {sources}, which firewall_allow does not have"
        yield Obstacle(str(rules[0]), found, f"the port in firewall_allow, open to all, or {BEFORE_RULES}")
