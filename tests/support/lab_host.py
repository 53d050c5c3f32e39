"""`slipway` on throwaway hosts, as a user runs it, in a lab of this checkout's own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slipway.lab import acme, hosts, network
from slipway.lab.instance import Instance
from slipway.lab.record import Host, pyinfra_data, recorded_hosts
from slipway.site import Site
from support import typed
from support.checkout import PROJECT
from support.waiting import wait_until

PENDING = 2
# Only ends a hang, in seconds: an emulated machine is slow.
TIMEOUT = 3600.0
# The longest login, in seconds: shorter than a host waits for one before it rolls a change back.
LOGIN_SECONDS = 8
# Each checkout has its own lab, so that two can test at once.
LAB = f"ci{hashlib.sha256(str(PROJECT).encode()).hexdigest()[:8]}"
# The host that the others are copied from, and its snapshot.
ORIGINAL, LABEL = "codementee", "provisioned"
PYINFRA = str(Path(sys.executable).with_name("pyinfra"))
# A prebuilt frontend: a build takes longer than the rest of a release.
BUILT = ("--data", "frontend_build=[ -e build/index.html ]")


def run(
    command: Sequence[str], env: dict[str, str], timeout: float = TIMEOUT, cwd: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit code; its output is text."""
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False)


class LabHost:
    """A lab host, and what a user does with it."""

    def __init__(self, name: str, lab: str = LAB) -> None:
        self.name = name
        self.lab = Instance(lab)
        # PYTHONPATH: pyinfra's command, unlike `python -m`, does not look in the current folder first.
        self.env = {**os.environ, "SLIPWAY_LAB": lab, "SLIPWAY_LAB_HOSTS": name, "PYTHONPATH": str(PROJECT)}

    def slipway(self, *arguments: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Run `slipway ARGUMENTS`, whatever its exit code."""
        return typed.slipway(*arguments, cwd=PROJECT, env=self.env, limit=timeout, here=True)

    def start(self, *arguments: str) -> Running:
        """Start `slipway ARGUMENTS` and go on."""
        return Running([sys.executable, "-m", "slipway", *arguments], self.env)

    def pyinfra(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run plain `pyinfra -y ARGUMENTS`, which must succeed."""
        done = run([PYINFRA, "-y", *arguments], self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def apply(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`slipway apply lab --yes`, which must succeed."""
        done = self.slipway("apply", "lab", "--yes", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`slipway release lab --yes`, which must succeed."""
        done = self.slipway("release", "lab", "--yes", *arguments)
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
        """The output of a shell script that root runs on the host: `slipway lab ssh` without its start-up time."""
        done = run(self.record.ssh_argv(script), self.env)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    @property
    def record(self) -> Host:
        """The host as the lab has written it down."""
        return next(host for host in recorded_hosts(self.lab) if host.name == self.name)

    @property
    def data(self) -> dict[str, Any]:
        """What the lab's inventory says of the host."""
        return pyinfra_data(self.record)

    def resolve(self, name: str) -> None:
        """Let a name resolve to the host: in the lab's DNS, which validates certificates, and on the host."""
        address = self.record.address
        acme.add_name(network.of(self.lab), name, address)
        self.ssh(f"grep -q ' {name}$' /etc/hosts || echo '{address} {name}' >> /etc/hosts")

    def site(self, domain: str | None = None) -> Site:
        """The site as a visitor sees it, or another site at the same address."""
        return hosts.site(self.record, domain, lab=self.lab)

    def is_healthy(self) -> bool:
        """Whether the backend and its database answer a visitor."""
        try:
            return self.site().get("/api/health").status_code == 200
        except OSError:
            return False

    def wait_until_healthy(self) -> None:
        wait_until(f"the site of {self.name} is healthy", self.is_healthy)

    def may_log_in(self, user: str = "admin", port: int = 22, *options: str) -> bool:
        """Whether a user can log in with the lab's key now, from outside."""
        host = self.record
        command = [
            # A login in progress while a firewall changes would hang until the change is rolled back, and then succeed.
            *("timeout", str(LOGIN_SECONDS)),
            *("ssh", "-F", "none", *options, "-i", host.key_file, "-p", str(port), "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=3"),
            *("-o", "IdentitiesOnly=yes", f"{user}@{host.address}", "true"),
        ]
        return run(command, self.env).returncode == 0

    def current_release(self) -> str:
        return self.ssh("basename $(readlink /var/www/codementee/current)")

    def remove(self) -> None:
        """Remove the host without waiting; the lab's removal waits."""
        command = [sys.executable, "-m", "slipway", "lab", "down", "--name", self.name]
        subprocess.Popen(command, cwd=PROJECT, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Running:
    """A command that runs beside the test."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path = PROJECT) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=cwd, env=env, text=True, **pipes)  # type: ignore[call-overload]
        self.lines: list[str] = []

    def wait_for_operation(self, operation: str) -> None:
        """Read what it prints until an operation has ended; operations without a change need --verbose."""
        self.wait_for_line(lambda line: line[0] in "✓=" and operation in line, operation)

    def wait_for_text(self, text: str) -> None:
        """Read what it prints until a line holds `text`."""
        self.wait_for_line(lambda line: text in line, text)

    def wait_for_line(self, is_it: Any, what: str) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if is_it(line):
                return
        raise AssertionError(f"{what} was never printed:\n{''.join(self.lines)}{self.process.stderr.read()}")

    def kill(self) -> None:
        """Kill it, as a lost terminal or a crash does."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str, str]:
        """Its exit code, its output since the last read, and its errors."""
        output, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, output, errors


def bring_up(name: str, *arguments: str) -> LabHost:
    """A fresh host: a bare system."""
    host = LabHost(name)
    done = host.slipway("lab", "up", "--name", name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return host


def mongosh(script: str, port: int = 27017, address: str = "127.0.0.1") -> str:
    """A command for the host that runs a script as MongoDB's administrator, whose password is in no command line."""
    login = f"""\
fs = require("fs"); db = connect("mongodb://{address}:{port}/admin");
db.auth("admin", fs.readFileSync("/etc/codementee/credentials/MONGODB_ADMIN_PASSWORD", "utf8"));
"""
    encoded = base64.b64encode(f"{login}{script}".encode()).decode()
    return f"echo {encoded} | base64 -d > /run/do.js; mongosh --quiet --nodb --file /run/do.js; rm /run/do.js"
