"""UFW: deny incoming traffic except ssh, the web, and firewall_allow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_network
from typing import cast

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption.ufw import BY_FAIL2BAN
from slipway.engine import notes
from slipway.engine.components import Drift, component, component_step
from slipway.engine.login import Login
from slipway.engine.ssh import connected_port
from slipway.facts.base import Fact, Output
from slipway.facts.ssh import Sshd, SshPort
from slipway.ops.commands import Commands, ensure
from slipway.settings import members
from slipway.settings.model import Settings
from slipway.tasks.guard import guarded

PACKAGES = ["ufw"]
UNIT = "ufw.service"
COMMENT = re.compile(r" comment '.*'$")
# A ban by an owner's jail with fail2ban's action `ufw`: fail2ban itself ends it.
BAN = re.compile(rf"ufw (deny|reject) .* comment '{BY_FAIL2BAN}")
DENY_INCOMING = "Default: deny (incoming), allow (outgoing)"
# Load the rules if ufw.conf enables UFW, else flush them. Retried: rules may fail right after the kernel has loaded a
# module that they use.
REVIVE = """\
load() { for seconds in 0 2 5; do sleep $seconds; ! ufw reload > /dev/null || return 0; done; return 1; }
if grep -q '^ENABLED=yes' /etc/ufw/ufw.conf; then load; else /lib/ufw/ufw-init flush-all; fi
sync -f /etc/ufw"""


class Ufw(Fact[dict[str, object]]):
    """active (bool), defaults (its line of `ufw status verbose`) and rules ("allow 22/tcp", as they were added)."""

    @staticmethod
    def default() -> dict[str, object]:
        return {}

    def command(self) -> str:
        # Its output is localized.
        return "export LC_ALL=C; ufw status verbose 2>/dev/null; ufw show added 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, object]:
        return {
            "active": "Status: active" in output,
            "defaults": next((line for line in output if line.startswith("Default:")), ""),
            "rules": added(output),
        }


def added(lines: Iterable[str]) -> list[str]:
    """The rules that `ufw show added` prints, without bans."""
    # A comment is no part of a rule: with another one it is the same rule.
    return [
        COMMENT.sub("", line.removeprefix("ufw ")) for line in lines if line.startswith("ufw ") and not BAN.match(line)
    ]


class UfwInForce(Fact[list[str]]):
    """UFW's effective state, sorted: lines of its files, and the kernel's chains and rules for incoming traffic."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self) -> str:
        files = "/etc/ufw/ufw.conf /etc/default/ufw /etc/ufw/user.rules /etc/ufw/user6.rules"
        return (
            f"grep -shE '^(### tuple ###|ENABLED=|IPV6=|DEFAULT_(INPUT|OUTPUT)_POLICY=)' {files};"
            " { iptables-save -t filter; ip6tables-save -t filter; } 2>/dev/null"
            " | grep -E '^(:(INPUT|OUTPUT|ufw6?-user-(input|output|forward)) |-A (INPUT|ufw6?-user-input) )' || true"
        )

    def process(self, output: list[str]) -> list[str]:
        # Without the kernel's counters and the rules' comments.
        lines = (re.sub(r" comment=[0-9a-f]*$", "", line.partition(" [")[0]) for line in output)
        return sorted(line for line in lines if not line.startswith("-A INPUT "))


class UfwFiles(UfwInForce):
    """The lines of UFW's files, with the rules' comments. Shares UfwInForce's command."""

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if not line.startswith(("-", ":"))]


class InputRules(UfwInForce):
    """All rules for incoming traffic, as iptables-save prints them. Shares UfwInForce's command."""

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.startswith("-A INPUT ")]


DRIFTS = {
    "a port opened": Drift("ufw allow 9999/tcp", "Remove other firewall rules"),
    "the firewall disabled": Drift("ufw disable", "Allow only ssh, the web and firewall_allow"),
    "the firewall's default changed": Drift("ufw default allow incoming", "Allow only ssh, the web and firewall_allow"),
    "a rule of the firewall gone": Drift("ufw delete allow 443/tcp"),
    "no firewall after a reboot": Drift(f"systemctl disable {UNIT}", "Enable the firewall at boot"),
    "the firewall without IPv6": Drift(
        "sed -i s/^IPV6=.*/IPV6=no/ /etc/default/ufw && ufw reload", "Allow only ssh, the web and firewall_allow"
    ),
    "the firewall masked": Drift(f"systemctl mask {UNIT}"),
}


@component(needs=("guard", "admin"), packages=PACKAGES, drifts=DRIFTS)
def firewall(settings: Settings) -> None:
    open_rules(name="Allow only ssh, the web and firewall_allow", settings=settings)
    ensure(
        name="Enable the firewall at boot",
        # The link that `systemctl is-enabled` checks, by the unit's WantedBy=, and no mask.
        check=f"[ -e /etc/systemd/system/multi-user.target.wants/{UNIT} ] && [ ! -L /etc/systemd/system/{UNIT} ]",
        command=f"systemctl unmask {UNIT} && systemctl enable {UNIT}",
        note=f"{UNIT}: enabled",
    )


@component_step(after="ssh")
def prune_rules(settings: Settings) -> None:
    """After ssh has moved: its previous port is no longer needed."""
    close_rules(name="Remove other firewall rules", settings=settings)


def rules(settings: Settings, ssh_ports: list[str], is_web: bool) -> list[str]:
    """UFW's rules, ssh first, as `ufw show added` prints them."""
    sources = settings.firewall_ssh_from
    ssh = [
        rule
        for port in ssh_ports
        for rule in ([f"allow from {net} to any port {port} proto tcp" for net in sources] or [f"allow {port}/tcp"])
    ]
    web = ["allow 80/tcp", "allow 443/tcp"] if is_web and settings.is_public else []
    allowed = [f"allow {port}" for port in settings.firewall_allow]
    return list(dict.fromkeys([*ssh, *web, *allowed, *rules_of_peers(settings)]))


def rules_of_peers(settings: Settings) -> list[str]:
    """Those for the other servers of the inventory: a port that one of them needs is open to its address alone."""
    balancers = settings.peers_with("lb") if settings.is_behind else []
    allowed = [(peer.address, settings.lb_port) for peer in balancers]
    allowed += [(peer.address, settings.mongodb_port) for peer in members.clients(settings) if peer.address]
    return [f"allow from {address} to any port {port} proto tcp" for address, port in allowed]


def _wanted(settings: Settings, ssh_ports: list[str]) -> list[str]:
    return rules(settings, ssh_ports, bool({"lb", "web"} & {*host.groups}))


def expected_rules(rules: list[str]) -> list[str]:
    """The expected UfwInForce: UFW is enabled with its defaults and exactly these rules."""
    lines = ["ENABLED=yes", "IPV6=yes", 'DEFAULT_INPUT_POLICY="DROP"', 'DEFAULT_OUTPUT_POLICY="ACCEPT"']
    for version, all_addresses, chain in ((4, "0.0.0.0/0", "ufw-user"), (6, "::/0", "ufw6-user")):
        lines += [":INPUT DROP", ":OUTPUT ACCEPT", *(f":{chain}-{way} -" for way in ("input", "output", "forward"))]
        for _, *words in map(str.split, rules):
            source = words[1] if words[0] == "from" else ""
            port, protocol = (words[5], words[7]) if source else words[0].split("/")
            if source and ip_network(source).version != version:
                continue
            lines.append(f"### tuple ### allow {protocol} {port} {all_addresses} any {source or all_addresses} in")
            of = f"-s {ip_network(source)} " if source else ""
            lines.append(f"-A {chain}-input {of}-p {protocol} -m {protocol} --dport {port} -j ACCEPT")
    return sorted(lines)


def _ufw(settings: Settings) -> dict[str, object]:
    """UFW's state. Running ufw takes two starts of Python, a seventh of a plan's processor time, so it is skipped if
    the effective state is as expected."""
    wanted = _wanted(settings, [str(settings.sshd_port)])
    if host.get_fact(UfwInForce) == expected_rules(wanted):
        return {"active": True, "defaults": DENY_INCOMING, "rules": wanted}
    return host.get_fact(Ufw)


def _found(settings: Settings) -> list[str]:
    return cast("list[str]", _ufw(settings).get("rules", []))


@operation()
def open_rules(settings: Settings) -> Commands:
    """Allow the configured ports and ssh's present ones, and deny by default; no rule is removed yet."""
    # Without sudo, which drops SSH_CONNECTION from the environment.
    ports = [str(settings.sshd_port), host.get_fact(SshPort, _sudo=False), *host.get_fact(Sshd).get("port", [])]
    state, found, commands = _ufw(settings), _found(settings), []
    lines = host.get_fact(UfwInForce)
    if is_off := "IPV6=no" in lines and bool(host.get_fact(Output, command="ls -d /proc/sys/net/ipv6")):
        # Without its rules UFW drops all of IPv6.
        notes.note("IPv6: off -> on")
        commands.append("sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw")
        # The chains that its rules go to.
        commands += ["ufw reload"] if state.get("active") else []
    for rule in _wanted(settings, [port for port in dict.fromkeys(ports) if port]):
        if rule not in found or is_off or _is_of_one_version(rule, lines):
            notes.note(f"+ {rule}")
            commands.append(f"ufw {rule}")
    if not str(state.get("defaults")).startswith(DENY_INCOMING):
        notes.note("default: deny incoming, allow outgoing")
        commands += ["ufw default deny incoming", "ufw default allow outgoing"]
    if not state.get("active"):
        notes.note("inactive -> active")
        commands.append("ufw --force enable")
    if commands:
        login = Login(settings.admin_user, connected_port(host))
        yield from _changed(settings, commands, login)


def _is_of_one_version(rule: str, lines: list[str]) -> bool:
    """Whether UFW has a rule for IPv4 or IPv6 that should be for both: `ufw show added` does not say so."""
    tuples = [line in lines for line in expected_rules([rule]) if line.startswith("### tuple ###")]
    return "IPV6=yes" in lines and any(tuples) and not all(tuples)


@operation()
def close_rules(settings: Settings) -> Commands:
    """Remove every rule that is not configured."""
    found = _found(settings)
    unwanted = [rule for rule in found if rule not in _wanted(settings, [str(settings.sshd_port)])]
    for rule in unwanted:
        notes.note(f"- {rule}")
    if unwanted:
        moved = host.get_fact(SshPort, _sudo=False) != str(settings.sshd_port)
        login = Login(settings.admin_user, settings.sshd_port if moved else connected_port(host))
        yield from _changed(settings, [_deletion(rule) for rule in unwanted], login)


def _deletion(rule: str) -> str:
    """The command that deletes a rule. ufw(8): a rule for forwarded traffic is deleted by `ufw route delete`."""
    is_routed, rule = rule.startswith("route "), rule.removeprefix("route ")
    return f"ufw --force {'route ' if is_routed else ''}delete {rule}"


def _changed(settings: Settings, commands: list[str], login: Login) -> Commands:
    yield from guarded(settings, "firewall", ["/etc/ufw", "/etc/default/ufw"], "\n".join(commands), REVIVE, login)
