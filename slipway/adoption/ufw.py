"""UFW's rules on an existing server: the ports that they open, and those whose effect no setting has."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise

from slipway.adoption import Obstacle, setting
from slipway.settings.model import Settings

ANYBODY = ("0.0.0.0/0", "::/0", "any")
ALLOWS_ALL = 'DEFAULT_INPUT_POLICY="ACCEPT"'
# Where a line of /etc/ufw/before.rules is to be written, and of the same file for IPv6.
BEFORE = {4: ("ufw-before-input", "/etc/ufw/before.rules"), 6: ("ufw6-before-input", "/etc/ufw/before6.rules")}
BEFORE_RULE = re.compile(r"-[AI] ufw6?-before-input (.*-j (?:ACCEPT|DROP|REJECT)\b)")
# Addresses of Tailscale's networks, and its chain, which precedes UFW's rules and accepts all that its interface gets.
TAILSCALE = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
TS_INPUT = re.compile(r"-A INPUT (.* )?-j ts-input\b")
# fail2ban's action `ufw` adds a rule for each ban, with this comment.
BY_FAIL2BAN = "by Fail2Ban"
WEB = {80, 443}
# Options in before.rules that limit nothing, and ports there without names.
IRRELEVANT = {"-m", "--comment"}
PORTS = re.compile(r"\d+(:\d+)?(,\d+(:\d+)?)*")


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
    comment: str = ""

    @property
    def opens(self) -> bool:
        return self.action in ("allow", "limit") and not self.is_routed

    @property
    def interface(self) -> str:
        return self.direction.partition("!")[0].partition("_")[2]

    @property
    def is_narrow(self) -> bool:
        """Whether it is limited to some addresses or to an interface."""
        return {self.source, self.target} - {*ANYBODY} != set() or "_" in self.direction

    @property
    def version(self) -> int:
        return 6 if ":" in self.source + self.target else 4

    @property
    def ports(self) -> set[str]:
        """The ports as in firewall_allow: "53/udp"."""
        found = set() if self.port == "any" else _ports(self.port)
        return {f"{port}/{protocol}" for port in found for protocol in self._protocols}

    @property
    def _protocols(self) -> list[str]:
        return ["tcp", "udp"] if self.protocol == "any" else [self.protocol]

    @property
    def matches(self) -> list[str]:
        """What it matches, by iptables' options. One for a port of any protocol is two of them."""
        words = [f"-i {self.interface}"] if self.interface else []
        words += [f"-s {self.source}"] if self.source not in ANYBODY else []
        words += [f"-d {self.target}"] if self.target not in ANYBODY else []
        if self.port == "any":
            return [" ".join([*words, *([f"-p {self.protocol}"] if self.protocol != "any" else [])])]
        option = "-m multiport --dports" if "," in self.port else "--dport"
        return [" ".join([*words, f"-p {protocol} {option} {self.port}"]) for protocol in self._protocols]

    def __str__(self) -> str:
        return f"ufw {'route ' if self.is_routed else ''}{self._words}"

    @property
    def deletion(self) -> str:
        return f"ufw {'route ' if self.is_routed else ''}delete {self._words}"

    @property
    def _words(self) -> str:
        way, _, interface = self.direction.replace("!out_", " out on ").partition("_")
        words = [self.action, *([way] if way != "in" or interface else [])]
        words += ["on", interface] if interface else []
        source, target = ("any" if one in ANYBODY else one for one in (self.source, self.target))
        words += ["from", source] if source != "any" else []
        words += ["to", target] if target != "any" or self.port != "any" else []
        words += ["port", self.port] if self.port != "any" else []
        words += ["proto", self.protocol] if self.protocol != "any" else []
        return " ".join(words)


def rules(lines: Iterable[str]) -> list[Rule]:
    """The rules in the lines of UFW's files."""
    return [_rule(line) for line in lines if line.startswith("### tuple ### ")]


def _rule(line: str) -> Rule:
    words = line.split()[3:]
    comments = [word.removeprefix("comment=") for word in words if word.startswith("comment=")]
    words = [word for word in words if not word.startswith("comment=")]
    routed, _, action = words[0].rpartition(":")
    # With a profile's name there are two fields more before the last one.
    protocol, port, target, _, source = words[1:6]
    comment = bytes.fromhex(comments[0]).decode(errors="replace") if comments else ""
    return Rule(action.partition("_")[0], protocol, port, target, source, words[-1], bool(routed), comment)


def open_ports(lines: Sequence[str], protocol: str = "tcp", *, to_all: bool = False) -> set[int] | None:
    """The ports of a protocol that UFW opens now, by the lines of its files; None if it is disabled, or opens all of
    them. `to_all`: not only to some addresses, or on an interface."""
    if "ENABLED=yes" not in lines or ALLOWS_ALL in lines:
        return None
    found: set[int] = set()
    for rule in rules(lines):
        if not (rule.opens and rule.direction.startswith("in") and rule.protocol in ("any", protocol)):
            continue
        if to_all and rule.is_narrow:
            continue
        if rule.port == "any":
            return None
        found |= _ports(rule.port)
    return found


def _ports(text: str) -> set[int]:
    """The ports of a rule: "80,8000:8010"."""
    ranges = [part.partition(":") for part in text.split(",")]
    return {port for first, _, last in ranges for port in range(int(first), int(last or first) + 1)}


def kept_ports(lines: Iterable[str], protocol: str = "tcp") -> set[int]:
    """The ports that rules in /etc/ufw/before.rules open, possibly to some addresses alone."""
    found = (_options(line) for line in lines)
    return {
        port
        for rule in found
        if "--dport" in rule and rule["-j"] == "ACCEPT" and rule.get("-p") == protocol
        for port in _ports(rule["--dport"])
    }


def accepts_all(lines: Iterable[str], interface: str, sources: Collection[str]) -> bool:
    """Whether a rule in /etc/ufw/before.rules opens every port to one of these addresses, by an interface."""
    words = [f"-i {interface} -s {source}" for source in sources]
    wide = [one for one in map(_options, lines) if one and one["-j"] == "ACCEPT" and one.keys() <= {"-i", "-s", "-j"}]
    return any(_covers(one, match) for one in wide for match in words)


def _options(line: str) -> dict[str, str]:
    """The options of a rule in /etc/ufw/before.rules by their names; `{}` if it is none for new connections."""
    found = BEFORE_RULE.match(line)
    words = found[1].split() if found else []
    options = dict(pairwise(words))
    options = {name: value for name, value in options.items() if name.startswith("-") and name not in IRRELEVANT}
    states = [options.pop(name) for name in ("--ctstate", "--state") if name in options]
    if "--dports" in options:
        options["--dport"] = options.pop("--dports")
    is_plain = "!" not in words and PORTS.fullmatch(options.get("--dport", "1"))
    return options if is_plain and all("NEW" in state for state in states) else {}


def _covers(before: Mapping[str, str], match: str) -> bool:
    """Whether a rule of before.rules is for all that a rule of UFW's matches."""
    words = match.replace("--dports", "--dport").split()
    own = dict(pairwise(words))
    covered = {
        "-i": before.get("-i") == own.get("-i"),
        "-p": before.get("-p") == own.get("-p"),
        "-s": _is_within(own.get("-s"), before.get("-s", "")),
        "-d": _is_within(own.get("-d"), before.get("-d", "")),
        "--dport": "--dport" in own and _ports(own["--dport"]) <= _ports(before.get("--dport", "0")),
        "-j": True,
    }
    return all(covered.get(name, False) for name in before)


def _is_within(one: str | None, networks: str) -> bool:
    own = _network(one or "")
    found = [_network(other) for other in networks.split(",")]
    return own is not None and any(
        other and own.network_address in other and own.prefixlen >= other.prefixlen for other in found
    )


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def has_tailscale(input_rules: Iterable[str]) -> bool:
    return any(TS_INPUT.match(rule) for rule in input_rules)


def uplinks(earlier: Mapping[str, str]) -> set[str]:
    """The devices of default routes."""
    return {line.split()[0] for line in earlier.get("uplinks", "").splitlines()}


def affected(lines: Sequence[str], earlier: Mapping[str, str], input_rules: Iterable[str] = ()) -> list[str]:
    """`lines` of UFW's files without the rules that an adoption may remove, as something else does the same:
    Tailscale's chain, or the owner's before.rules. A rule for the interface to the Internet is one for all."""
    by_tailscale = has_tailscale(input_rules)
    before = earlier.get("before", "").splitlines()
    known = {version: [_options(one) for one in before if chain in one] for version, (chain, _) in BEFORE.items()}
    outside = {f"in_{device}" for device in uplinks(earlier)}
    found = []
    for line in lines:
        if line.startswith("### tuple ### "):
            rule = _rule(line)
            verdicts = ("ACCEPT",) if rule.opens else ("DROP", "REJECT")
            is_in = not rule.is_routed and rule.direction.startswith("in")
            same = [one for one in known[rule.version] if one and one["-j"] in verdicts]
            if is_in and all(any(_covers(one, match) for one in same) for match in rule.matches):
                continue
            if rule.opens and (rule.direction == "in_lo" or (by_tailscale and rule.interface.startswith("tailscale"))):
                continue
            line = " ".join("in" if word in outside else word for word in line.split(" "))
        found.append(line)
    return found


def ssh(
    lines: Sequence[str],
    earlier: Mapping[str, str],
    settings: Settings,
    ssh_ports: Collection[str],
    input_rules: Iterable[str] = (),
) -> Iterator[Obstacle]:
    """ssh that UFW opens to some alone. `lines` are of UFW's files, with all of its rules."""
    if "ENABLED=yes" not in lines or ALLOWS_ALL in lines:
        return
    # The addresses, by what is told of them: those of rules for ssh, and those of wider rules.
    named: dict[str, list[str]] = {}
    wider = {"tailscale0": [*TAILSCALE]} if has_tailscale(input_rules) else {}
    for source, interface, is_named in _accepted(lines, earlier, ssh_ports):
        if source not in ANYBODY:
            (named if is_named else wider).setdefault(source, [source])
        elif interface and interface not in uplinks(earlier):
            wider.setdefault(interface, _reached_by(interface, earlier))
        else:
            return
    given = {*map(_network, settings.firewall_ssh_from)}
    missing = {
        label: [one for one in addresses if _network(one) not in given]
        for label, addresses in {**named, **({} if given else wider)}.items()
    }
    labels = [label for label, addresses in missing.items() if addresses]
    if labels:
        found = f"it open to {', '.join(labels)}, and would be {'closed to them' if given else 'open to all'}"
        wanted = dict.fromkeys([*settings.firewall_ssh_from, *(one for of in missing.values() for one in of)])
        yield Obstacle("ufw: ssh", found, setting("firewall_ssh_from", [*wanted]))


def _accepted(
    lines: Sequence[str], earlier: Mapping[str, str], ssh_ports: Collection[str]
) -> Iterator[tuple[str, str, bool]]:
    """The source and the interface of each rule that accepts ssh, and whether UFW has it for that port."""
    for rule in rules(lines):
        ports = ({"any"} if rule.port == "any" else {*map(str, _ports(rule.port))}) & {*ssh_ports, "any"}
        if rule.opens and rule.direction.startswith("in") and rule.direction != "in_lo" and ports:
            yield rule.source, rule.interface, "any" not in ports
    for options in map(_options, earlier.get("before", "").splitlines()):
        is_known = options.keys() <= {"-i", "-s", "-p", "-j", "--dport"} and options.get("-p", "tcp") == "tcp"
        ports = {*map(str, _ports(options.get("--dport", "0")))} & {*ssh_ports}
        is_for_ssh = is_known and (ports or "--dport" not in options)
        if options and is_for_ssh and options["-j"] == "ACCEPT" and options.get("-i") != "lo":
            for source in options.get("-s", "any").split(","):
                yield source, options.get("-i", ""), False


def _reached_by(interface: str, earlier: Mapping[str, str]) -> list[str]:
    """The networks behind an interface, or a word for them."""
    if interface.startswith("tailscale"):
        return [*TAILSCALE]
    lines = [line.split() for line in earlier.get("interfaces", "").splitlines()]
    found = [ip_network(address, strict=False) for device, address in lines if device == interface]
    return [str(one) for one in found if one.num_addresses > 1] or ["ADDRESS"]


def lost_rules(
    lines: Sequence[str], settings: Settings, ssh_ports: Collection[str], ours: Collection[str] = ()
) -> Iterator[Obstacle]:
    """UFW's rules that would be removed with all others, and whose effect no setting has; `ours` stay. `lines` are
    those that are affected."""
    if "ENABLED=yes" not in lines:
        return
    if 'DEFAULT_OUTPUT_POLICY="DROP"' in lines or 'DEFAULT_OUTPUT_POLICY="REJECT"' in lines:
        found = "a default that refuses outgoing traffic, which Slipway's does not"
        yield Obstacle("ufw default deny outgoing", found, "ufw default allow outgoing")
    to_all = {
        f"{port}/{protocol}" for protocol in ("tcp", "udp") for port in open_ports(lines, protocol, to_all=True) or ()
    }
    to_some: dict[Rule, list[Rule]] = {}
    for rule in rules(lines):
        if str(rule).removeprefix("ufw ") in ours or (rule.comment.startswith(BY_FAIL2BAN) and not rule.opens):
            # fail2ban itself ends its bans, and bans again.
            continue
        if not rule.opens and rule.source.startswith(("127.", "::1")):
            # The kernel drops those that come from outside.
            continue
        kept = f"it in /etc/ufw/before.rules, which is kept, and {rule.deletion}"
        if rule.is_routed:
            yield Obstacle(str(rule), "a rule for forwarded traffic, for which Slipway has no setting", kept)
        elif rule.direction.startswith("out"):
            if not rule.opens:
                yield Obstacle(str(rule), "a rule that denies outgoing traffic, for which Slipway has no setting", kept)
        elif rule.is_narrow and rule.direction != "in_lo":
            is_ssh = rule.source not in ANYBODY and rule.port in ssh_ports
            is_open = rule.ports and rule.ports <= to_all | {*settings.firewall_allow}
            if not rule.opens or not (is_ssh or is_open):
                to_some.setdefault(replace(rule, source="", target=_any(rule.target), comment=""), []).append(rule)
    for some in to_some.values():
        yield _narrow(some)


def _any(address: str) -> str:
    return "any" if address in ANYBODY else address


def _narrow(some: list[Rule]) -> Obstacle:
    """An obstacle for rules that differ in whom they are for."""
    first = some[0]
    sources = [one for one in dict.fromkeys(_any(rule.source) for rule in some) if one != "any"]
    found = "a rule for some addresses or an interface" if first.opens else "a rule that denies an address"
    found = f"{len(sources)} rules, for {', '.join(sources)}" if len(sources) > 1 else found
    if not first.opens:
        need = f"it in the provider's firewall and {first.deletion}, or {_in_before(some, 'DROP')}"
        return Obstacle(str(first), f"{found}, for which Slipway has no setting", need)
    is_of_web = first.ports and {int(port.partition("/")[0]) for port in first.ports} <= WEB
    need = f"ufw allow {first.port}/tcp, as Slipway opens it to all" if is_of_web else _in_before(some, "ACCEPT")
    return Obstacle(str(first), f"{found}, which firewall_allow does not have", need)


def _in_before(some: list[Rule], verdict: str) -> str:
    """The lines by which UFW has rules before those that Slipway removes."""
    found = []
    for version, (chain, file) in BEFORE.items():
        of_version = [rule for rule in some if rule.version == version]
        if of_version:
            # iptables takes several addresses at once.
            sources = ",".join(dict.fromkeys(rule.source for rule in of_version))
            lines = (
                f"`-A {chain} {match.replace(f'-s {of_version[0].source}', f'-s {sources}')} -j {verdict}`"
                for match in of_version[0].matches
            )
            found.append(f"{' and '.join(lines)} above COMMIT in {file}")
    kept = "which are kept" if len(found) > 1 else "which is kept"
    return f"{' and '.join(found)}, {kept} (then: ufw reload)"
