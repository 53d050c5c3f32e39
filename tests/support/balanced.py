"""A load balancer and two application servers, one of them with the database, as throwaway hosts."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from slipway.site import Site
from support import typed
from support.lab_host import PROJECT, PYINFRA, TIMEOUT, LabHost, Running, bring_up, run

BALANCER, FIRST, SECOND = "balancer", "one", "two"
SECRETS = ("JWT_SECRET", "ADMIN_PASSWORD", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD")
PORT = 8443


class Balanced:
    """The hosts, and what a user does with them."""

    def __init__(self) -> None:
        self.balancer, self.first, self.second = (bring_up(name) for name in (BALANCER, FIRST, SECOND))
        # The lab makes the secrets that they share.
        self.env = {**self.first.env}
        self.servers: list[LabHost] = []
        self.balancers = [self.balancer]
        self.take([self.first, self.second])

    def take(self, servers: list[LabHost], *further_balancers: LabHost) -> None:
        """Have these application servers in the inventory, and more load balancers."""
        self.servers, self.balancers = servers, [self.balancer, *further_balancers]
        names, balancers = (",".join(host.name for host in hosts) for hosts in (servers, self.balancers))
        self.env |= {
            "SLIPWAY_LAB_ROLES": f"lb={balancers} web={names} app={names} db={FIRST}",
            "SLIPWAY_LAB_HOSTS": ",".join(host.name for host in self.hosts),
        }
        self.must("lab", "connect", *(word for host in self.hosts for word in ("--name", host.name)))

    @property
    def hosts(self) -> list[LabHost]:
        return [*self.balancers, *self.servers]

    def slipway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return typed.slipway(*arguments, cwd=PROJECT, env=self.env, limit=TIMEOUT, here=True)

    def must(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        done = self.slipway(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> Running:
        """Start `slipway ARGUMENTS` and go on."""
        return Running([sys.executable, "-m", "slipway", *arguments], self.env)

    def pyinfra(self, *arguments: str) -> str:
        """The output of plain `pyinfra -y lab/inventory.py ARGUMENTS`, which must succeed."""
        done = run([PYINFRA, "-y", "lab/inventory.py", *arguments], self.env)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def site(self) -> Site:
        return self.balancer.site()

    def releases(self) -> list[str]:
        """The live release of each application server."""
        return [server.current_release() for server in self.servers]

    def answered(self, server: LabHost, seconds: float = 2) -> int:
        """How many requests a server answers in some seconds from now, while somebody visits."""
        count = "wc -l < /var/log/nginx/access.log"
        before = int(server.ssh(count))
        time.sleep(seconds)
        return int(server.ssh(count)) - before

    def reachable(self, ports: tuple[int, ...]) -> dict[str, set[tuple[str, str, int]]]:
        """By "4" and "6", for IPv4 and IPv6: from which host which one answers at which port."""
        found: dict[str, set[tuple[str, str, int]]] = {"4": set(), "6": set()}
        for target in self.hosts:
            listed = target.ssh("ip -o addr show scope global | awk '{split($4, a, \"/\"); print a[1]}'").split()
            for address in listed:
                for source in self.hosts:
                    if source is not target:
                        its = found["6" if ":" in address else "4"]
                        its |= {(source.name, target.name, port) for port in ports if connects(source, address, port)}
        return found


def connects(host: LabHost, address: str, port: int) -> bool:
    return bool(host.ssh(f"timeout 2 bash -c ': > /dev/tcp/{address}/{port}' 2> /dev/null && echo yes", check=False))


def logged(host: LabHost) -> dict[str, str]:
    """The address of the visitor of each request in a host's log, by the request's id."""
    lines = host.ssh("cat /var/log/nginx/requests.log").splitlines()
    return {entry["id"]: entry["address"] for entry in map(json.loads, lines)}


def unanswered(server: LabHost) -> bool:
    """Whether a server has noticed that its backend does not answer."""
    return bool(server.ssh("ls /run/slipway-backend-health"))
