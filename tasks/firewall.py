"""UFW: what comes in is denied but ssh, the web, and what a setting names."""

from __future__ import annotations

from typing import cast

from pyinfra import host
from pyinfra.api import FactBase, operation

from slipway import report
from slipway.facts import Machine, SshPort
from slipway.operations import Commands
from slipway.settings import Settings

PACKAGES = ["ufw"]


class Ufw(FactBase[dict[str, object]]):
    """active (bool), defaults (its line of `ufw status verbose`) and rules ("allow 22/tcp", as they were added)."""

    @staticmethod
    def default() -> dict[str, object]:
        return {}

    def command(self) -> str:
        return "ufw status verbose 2>/dev/null; ufw show added 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, object]:
        return {
            "active": "Status: active" in output,
            "defaults": next((line for line in output if line.startswith("Default:")), ""),
            "rules": [line.removeprefix("ufw ") for line in output if line.startswith("ufw ")],
        }


def firewall(settings: Settings) -> None:
    rules(name="Deny what comes in but ssh, the web and what is allowed", ports=open_ports(settings))


def open_ports(settings: Settings) -> list[str]:
    """The ports to open, ssh first: the port of this very connection and every port that sshd listens on."""
    machine = host.get_fact(Machine)
    # sudo drops SSH_CONNECTION from the environment, so this fact is asked without it.
    in_use = [host.get_fact(SshPort, _sudo=False), *machine.get("sshd_ports", "").split()]
    ssh = [f"{port}/tcp" for port in in_use if port] or ["22/tcp"]
    web = ["80/tcp", "443/tcp"] if "web" in host.groups else []
    return list(dict.fromkeys([*ssh, *web, *settings.firewall_allow]))


@operation()
def rules(ports: list[str]) -> Commands:
    """Make UFW's rules exactly these: what is missing is added before anything is removed or switched on."""
    state, commands = host.get_fact(Ufw), []
    wanted, found = [f"allow {port}" for port in ports], cast("list[str]", state.get("rules", []))
    for rule in wanted:
        if rule not in found:
            report.note(f"+ {rule}")
            commands.append(f"ufw {rule}")
    for rule in found:
        if rule not in wanted:
            report.note(f"- {rule}")
            commands.append(f"ufw --force delete {rule}")
    if not str(state.get("defaults")).startswith("Default: deny (incoming), allow (outgoing)"):
        report.note("default: deny incoming, allow outgoing")
        commands += ["ufw default deny incoming", "ufw default allow outgoing"]
    if not state.get("active"):
        report.note("inactive -> active")
        commands.append("ufw --force enable")
    if commands:
        yield " && ".join([*commands, "sync -f /etc/ufw"])
