"""A backup of one host, restored on another one of the inventory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.backups import CHANGES, LOSSES, ON, PASSWORD, PROGRAM, hashes, now, state
from support.lab_host import LabHost, bring_up, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough


# The lab's hosts do not reach each other, so each has the repository at the same address: a copy of the other one's.
PLACE = "sftp:admin@127.0.0.1:shop"


def reach(server: LabHost, other: LabHost) -> tuple[str, ...]:
    """The settings by which a host backs up there."""
    keys = [host.ssh("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub") for host in (server, other)]
    known = [f"127.0.0.1 {key}" for key in dict.fromkeys(keys)]
    server.env["SLIPWAY_SECRET_BACKUP_SSH_KEY"] = Path(server.record.key_file).read_text()
    return (
        *("--data", f"backup_repositories={json.dumps({'far': PLACE})}"),
        *("--data", 'backup_secrets=["BACKUP_SSH_KEY"]'),
        *("--data", f"backup_known_hosts={json.dumps(known)}"),
    )


def copy_repository(server: LabHost, other: LabHost) -> None:
    """As if both reached the same one."""
    packed = server.ssh("tar -C /home/admin -cz shop | base64 -w 0")
    unpack = other.record.ssh_argv("base64 -d | tar -C /home/admin -xz && chown -R admin: /home/admin/shop")
    subprocess.run(unpack, input=packed, text=True, check=True, capture_output=True)


@pytest.fixture
def other() -> Iterator[LabHost]:
    """A server with a domain of its own: two of one domain would be members of one replica set."""
    host = bring_up("elsewhere")
    yield host
    host.remove()


def test_another_hosts_data_are_restored_to_the_second(server: LabHost, other: LabHost) -> None:
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
    copy_repository(server, other)
    alone, server.env = server.env, {**server.env, "SLIPWAY_LAB_HOSTS": f"{server.name},{other.name}"}
    done = server.slipway("restore", "lab", "--to", other.name, "--limit", server.name, "--at", second, "--yes", *there)
    server.env = alone
    assert done.returncode == 0, done.stdout + done.stderr
    restored = hashes(other)
    # The backend there gives its administrator its own password, as it starts.
    for found in (restored, before):
        del found["codementee"]["users"]
    assert restored == before
    assert hashes(server) == lost
    # Neither the source's repository nor its secrets stay there.
    assert other.ssh("ls /run/slipway-backup | grep -c source || :") == "0"
    assert "sftp" not in other.ssh("cat /usr/lib/slipway/backup.json")
    other.wait_until_healthy()
