"""Lab hosts as the database servers of one inventory, in a project of their own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway.facts import mongodb_members
from slipway.facts.mongodb import program
from slipway.secrets.authority import create
from support import typed
from support.checkout import PROJECT
from support.lab_host import PENDING, PYINFRA, TIMEOUT, LabHost, run
from support.waiting import wait_until

INVENTORY = '''
"""The first host has the site, and as many as HOSTS says the database."""

import os as _os

from slipway.lab import record as _record
from slipway.settings import of_host as _of_host

_of_host.check_before_connecting()
_up = {_one.name: _one for _one in _record.running()}
_names = _os.environ["HOSTS"].split(",")


def _host(_number, _name):
    _data = _record.pyinfra_data(_up[_name])
    _own = {"private_address": _up[_name].address, "mongodb_member": f"mongodb-{_number}.internal"}
    return _name, {**_data, **_own, "site_domain": "codementee.test", "tls_authorities": "authorities.pem"}


db = [_host(_number, _name) for _number, _name in enumerate(_names, start=1)]
web = app = db[:1]
'''
PYTHON = "/var/www/codementee/current/backend/.venv/bin/python"
PASSWORDS = ("MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD")
# With the backend's driver and user, until it is told to stop: writes that a majority has acknowledged, and the longest
# wait for one.
WRITER = """
import json, pathlib, sys, time, pymongo
url = pathlib.Path("/etc/codementee/credentials/MONGO_URL").read_text()
written = pymongo.MongoClient(url, serverSelectionTimeoutMS=20000, w="majority").codementee[sys.argv[1]]
acknowledged, errors, longest, last, n = [], 0, 0.0, time.time(), 0
while not pathlib.Path("/root/stop").exists():
    n += 1
    try:
        written.insert_one({"_id": n})
    except pymongo.errors.PyMongoError:
        errors += 1
        continue
    acknowledged.append(n)
    longest, last = max(longest, time.time() - last), time.time()
    time.sleep(0.002)
there = {one["_id"] for one in written.find()}
lost = len({*acknowledged} - there)
print(json.dumps({"acknowledged": len(acknowledged), "lost": lost, "errors": errors, "longest": longest}))
"""


class DatabaseServers:
    """The hosts, the first of which has a site already, and its project."""

    def __init__(self, folder: Path, hosts: list[LabHost]) -> None:
        self.folder, self.hosts, self.first = folder, hosts, hosts[0]
        done = self.first.slipway(
            "lab", "connect", *(word for host in self.connected for word in ("--name", host.name))
        )
        assert done.returncode == 0, done.stderr
        for name in ("deploy.py", "release.py", "rollback.py", "examples"):
            (folder / name).symlink_to(PROJECT / name)
        shutil.copytree(PROJECT / "group_data", folder / "group_data")
        (folder / "inventory.py").write_text(INVENTORY)
        shutil.copy(self.first.site().authorities or "", folder / "authorities.pem")
        self.secrets = {f"SLIPWAY_SECRET_{name}": value for name, value in create(datetime.now(UTC)).items()}
        self.secrets |= {
            f"SLIPWAY_SECRET_{name}": self.first.ssh(f"cat /etc/codementee/credentials/{name}") for name in PASSWORDS
        }

    @property
    def connected(self) -> list[LabHost]:
        """The hosts that reach each other."""
        return self.hosts

    def env(self, count: int) -> dict[str, str]:
        names = ",".join(host.name for host in self.hosts[:count])
        own = {"SLIPWAY_LAB": self.first.lab.name, "HOSTS": names, "PYTHONPATH": str(PROJECT)}
        return {**os.environ, **self.secrets, **own}

    def slipway(self, *arguments: str, count: int = 3) -> subprocess.CompletedProcess[str]:
        """Run `slipway ARGUMENTS` with so many database servers in the inventory, whatever its exit code."""
        return typed.slipway(*arguments, cwd=self.folder, env=self.env(count), limit=TIMEOUT)

    def must(self, *arguments: str, count: int = 3) -> str:
        """The output of such a command, which must succeed."""
        done = self.slipway(*arguments, count=count)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def plan(self, *arguments: str, count: int = 3) -> list[str]:
        """The changes that a plan finds, as "HOST: OPERATION"."""
        done = self.slipway("plan", "--json", "-", *arguments, count=count)
        assert done.returncode in (0, PENDING), done.stdout + done.stderr
        return [
            f"{host['name']}: {change['operation']}"
            for host in json.loads(done.stdout)["hosts"]
            for part in host["components"]
            for change in part["changes"]
        ]

    def pyinfra(self, *arguments: str) -> str:
        """The output of plain pyinfra's deploy, which must succeed."""
        done = run([PYINFRA, "-y", *arguments, "inventory.py", "deploy.py"], self.env(3), cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def members(self, asked: LabHost | None = None) -> dict[str, dict[str, Any]]:
        """What a host's MongoDB says of each member, by the host's name."""
        command = program(mongodb_members, "status", "127.0.0.1", 27017, 20, "/etc/mongod.keyfile")
        script = f"echo {base64.b64encode(command.encode()).decode()} | base64 -d | sh"
        lines = (asked or self.first).ssh(script, check=False).splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return {self.hosts[int(one["name"][len("mongodb-")]) - 1].name: one for one in found}

    def primary(self, asked: LabHost | None = None) -> LabHost | None:
        states = {name: one["state"] for name, one in self.members(asked).items() if one["health"]}
        return next((host for host in self.hosts if states.get(host.name) == "PRIMARY"), None)

    def are_well(self) -> bool:
        """Whether all have the data and a vote."""
        members = [*self.members().values()]
        return len(members) == len(self.hosts) and all(
            one["health"] and one["votes"] and one["state"] in ("PRIMARY", "SECONDARY") for one in members
        )

    def start_writing(self, collection: str) -> None:
        text = base64.b64encode(WRITER.encode()).decode()
        command = f"nohup {PYTHON} /root/writer.py {collection} > /root/{collection} 2>&1 &"
        self.first.ssh(f"rm -f /root/stop; echo {text} | base64 -d > /root/writer.py; {command}")

    def stop_writing(self, collection: str) -> dict[str, Any]:
        """What came of it."""
        self.first.ssh("touch /root/stop")
        wait_until("the writer has stopped", lambda: self.first.ssh(f"cat /root/{collection}"))
        return dict(json.loads(self.first.ssh(f"cat /root/{collection}")))
