"""A load balancer and two application servers, one of them with the database, as throwaway hosts of a project."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from slipway.secrets.authority import create
from slipway.site import Site
from support import typed
from support.lab_host import PROJECT, LabHost, Running, bring_up

BALANCER, FIRST, SECOND = "balancer", "one", "two"
ROLES = f"lb={BALANCER} web={FIRST},{SECOND} app={FIRST},{SECOND} db={FIRST}"
SECRETS = ("JWT_SECRET", "ADMIN_PASSWORD", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD")
PORT = 8443


class Balanced:
    """The hosts, and what a user does with them in the folder of their project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.balancer, self.first, self.second = (bring_up(name) for name in (BALANCER, FIRST, SECOND))
        given = {name: secrets.token_hex(32) for name in SECRETS} | create(datetime.now(UTC))
        self.env = {**self.first.env, **{f"SLIPWAY_SECRET_{name}": value for name, value in given.items()}}
        self.env |= {"SLIPWAY_LAB_ROLES": ROLES, "SLIPWAY_LAB_HOSTS": ",".join((BALANCER, FIRST, SECOND))}
        self.must("lab", "connect")
        shutil.copytree(PROJECT / "group_data", project / "group_data")
        for name in ("deploy.py", "release.py", "rollback.py", "inventory.py", "examples"):
            (project / name).symlink_to(PROJECT / name)
        with (project / "group_data/all.py").open("a") as file:
            file.write(f'\nmongodb_bind = "{self.first.record.address}"\n')
        # All addresses: the first user is created by the loopback one.
        self.of_database = project / "group_data/db.py"
        self.of_database.write_text('mongodb_bind = "0.0.0.0"\nfirewall_allow = ["27017/tcp"]\n')

    @property
    def servers(self) -> list[LabHost]:
        return [self.first, self.second]

    @property
    def hosts(self) -> list[LabHost]:
        return [self.balancer, *self.servers]

    def slipway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return typed.slipway(*arguments, cwd=self.project, env=self.env, limit=3600)

    def must(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        done = self.slipway(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> Running:
        import sys

        return Running([sys.executable, "-m", "slipway", *arguments], self.env, cwd=self.project)

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
