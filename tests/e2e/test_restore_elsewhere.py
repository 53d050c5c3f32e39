"""A backup of one host, restored on another one of the inventory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.backups import CHANGES, LOSSES, ON, PASSWORD, PROGRAM, hashes, now, state
from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough


def reach(server: LabHost, other: LabHost) -> tuple[str, ...]:
    """The settings by which a host backs up to a folder of the other one's administrator, by SFTP."""
    address = other.record.address
    known = subprocess.run(["ssh-keyscan", "-t", "ed25519", address], capture_output=True, text=True, check=True).stdout
    server.env["SLIPWAY_SECRET_BACKUP_SSH_KEY"] = Path(server.record.key_file).read_text()
    return (
        *("--data", f"backup_repositories={json.dumps({'far': f'sftp:admin@{address}:shop'})}"),
        *("--data", 'backup_secrets=["BACKUP_SSH_KEY"]'),
        *("--data", f"backup_known_hosts={json.dumps(known.splitlines())}"),
    )


def test_another_hosts_data_are_restored_to_the_second(server: LabHost, fresh_server: LabHost) -> None:
    other = fresh_server
    server.env["SLIPWAY_SECRET_BACKUP_PASSWORD"] = other.env["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    there = reach(server, other)
    server.ssh(mongosh(CHANGES))
    server.apply(*there)
    wait_until("there is a full backup", lambda: "far" in state(server).get("sliced", {}))
    before, second = hashes(server), now(server)
    server.ssh(mongosh(LOSSES))
    server.ssh(f"{PROGRAM} slice")
    lost = hashes(server)
    other.apply(*ON)
    alone, server.env = server.env, {**server.env, "SLIPWAY_LAB_HOSTS": f"{server.name},{other.name}"}
    done = server.slipway("restore", "lab", "--to", other.name, "--limit", server.name, "--at", second, "--yes", *there)
    server.env = alone
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(other) == before
    assert hashes(server) == lost
    # Neither the source's repository nor its secrets stay there.
    assert other.ssh("ls /run/slipway-backup | grep -c source || :") == "0"
    assert "sftp" not in other.ssh("cat /usr/lib/slipway/backup.json")
    other.wait_until_healthy()
