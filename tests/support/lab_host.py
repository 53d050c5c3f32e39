"""Slipway's commands on the hosts of the tests' own lab, which is apart from a user's."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import acme, hosts, network
from lab.instance import Instance
from lab.record import Host, recorded_hosts
from slipway.site import Site

PROJECT = Path(__file__).resolve().parents[2]
PENDING = 2
# Whether to draw as many faults and drifts as there is time for, or enough for every day.
THOROUGH = bool(os.environ.get("SLIPWAY_TEST_THOROUGH"))


class LabHost:
    """A lab host, and what a user does with it."""

    def __init__(self, name: str, instance: str) -> None:
        self.name = name
        # What a command may take, in seconds.
        self.patience = 600.0
        self.env = {**os.environ, "SLIPWAY_LAB": instance, "SLIPWAY_LAB_HOSTS": name}
        self.lab = Instance(instance)

    def slipway(self, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run `slipway ARGUMENTS`, whatever its exit code."""
        command = [sys.executable, "-m", "slipway", *arguments]
        return subprocess.run(
            command,
            cwd=PROJECT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout or self.patience,
            check=False,
        )

    def apply(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`slipway apply lab --yes`, which must succeed."""
        done = self.slipway("apply", "lab", "--yes", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def plan(self, *arguments: str) -> list[dict[str, Any]]:
        """The changes that a plan finds; its exit code must fit them."""
        done = self.slipway("plan", "lab", "--json", "-", *arguments)
        assert done.returncode in (0, PENDING), done.stdout + done.stderr
        components = [part for host in json.loads(done.stdout)["hosts"] for part in host["components"]]
        changes = [{"component": part["name"], **change} for part in components for change in part["changes"]]
        assert done.returncode == (PENDING if changes else 0)
        return changes

    def operations(self, *arguments: str) -> list[str]:
        """The names of the operations that a plan would run."""
        return [change["operation"] for change in self.plan(*arguments)]

    def ssh(self, script: str, check: bool = True) -> str:
        """The output of a shell script on the host, run by root: what `slipway lab ssh` does, without its loading."""
        command = self._recorded().ssh_argv(script)
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.patience, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def _recorded(self) -> Host:
        return next(host for host in recorded_hosts(self.lab) if host.name == self.name)

    def lab_host(self) -> dict[str, Any]:
        """The host as `slipway lab status` shows it."""
        shown = self.slipway("lab", "status", "--json").stdout
        return next(host for host in json.loads(shown) if host["name"] == self.name)

    def resolve(self, name: str) -> None:
        """Let a name lead to the host: in the lab's DNS, by which its certificates are proven, and on the host."""
        address = self._recorded().address
        acme.add_name(network.of(self.lab), name, address)
        self.ssh(f"grep -q ' {name}$' /etc/hosts || echo '{address} {name}' >> /etc/hosts")

    def site(self) -> Site:
        """The site as a visitor sees it."""
        return hosts.site(self._recorded(), lab=self.lab)


def start_apply(host: LabHost, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "slipway", "apply", "lab", "--yes", "--verbose", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=PROJECT, env=host.env, text=True, **pipes)


def wait_for(apply: subprocess.Popen[str], operation: str) -> None:
    """Read what an apply prints until the operation has ended."""
    lines = []
    assert apply.stdout
    for line in apply.stdout:
        lines.append(line)
        if line[0] in "✓=" and operation in line:
            return
    raise AssertionError(f"{operation} never ended:\n{''.join(lines)}{apply.stderr.read() if apply.stderr else ''}")


def mongosh(script: str) -> str:
    """A command for the host that runs a script as MongoDB's administrator, whose password is in no command line."""
    login = """\
fs = require("fs"); db = connect("mongodb://127.0.0.1/admin");
db.auth("admin", fs.readFileSync("/etc/codementee/credentials/MONGODB_ADMIN_PASSWORD", "utf8"));
"""
    encoded = base64.b64encode(f"{login}{script}".encode()).decode()
    return f"echo {encoded} | base64 -d > /run/do.js; mongosh --quiet --nodb --file /run/do.js; rm /run/do.js"


# Another name lets two runs of the tests go side by side.
INSTANCE = os.environ.get("SLIPWAY_TEST_LAB", "slipwayci")


def bring_up(name: str, *arguments: str) -> LabHost:
    host = LabHost(name, INSTANCE)
    done = host.slipway("lab", "up", "--name", name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return host
