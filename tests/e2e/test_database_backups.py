"""Backups and restores of a replica set of three members, which one of them makes as a secondary."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.backups import CHANGES, LOSSES, ON, PASSWORD, PROGRAM, hashes, now, state
from support.database_servers import DatabaseServers
from support.lab_host import LabHost, bring_up, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

VIEW = 'const site = db.getSiblingDB("codementee");'
MAKE_VIEW = f'{VIEW} site.createView("paid", "orders", [{{ $match: {{ paid: true }} }}]);'
LATER = f"""
{VIEW} site.paid.drop(); site.createView("unpaid", "orders", []);
db.getSiblingDB("later").things.insertOne({{}});
"""
NAMES = 'print(JSON.stringify(db.getSiblingDB("codementee").getCollectionNames().sort()));'


@pytest.fixture(scope="module")
def several(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServers]:
    """Three members, the first of which makes backups."""
    hosts = [server, bring_up("backupsecond"), bring_up("backupthird")]
    found = DatabaseServers(tmp_path_factory.mktemp("project"), hosts)
    found.secrets["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    found.must("apply", "--yes", *ON)
    wait_until("all members are well", found.are_well)
    wait_until("there is a full backup", lambda: "full" in state(server))
    yield found
    for host in hosts[1:]:
        host.remove()


def primary(several: DatabaseServers) -> LabHost:
    found = several.primary()
    assert found
    return found


def names(host: LabHost) -> list[str]:
    return list(json.loads(host.ssh(mongosh(NAMES))))


def test_a_full_backup_is_made_by_a_secondary(several: DatabaseServers) -> None:
    while primary(several) != several.first:
        several.must("db", "stepdown", "--yes", *ON)
        wait_until("all members are well", several.are_well)
    said = several.must("backup", "now", *ON)
    assert "Handed over to another member: the backup reads a secondary" in said
    assert primary(several) != several.first
    for host in several.hosts[1:]:
        assert host.ssh("ls /etc/systemd/system/slipway-backup.timer 2> /dev/null || :") == ""
    assert several.plan(*ON) == []


def test_all_members_have_the_data_of_a_second_again(several: DatabaseServers) -> None:
    leading = primary(several)
    leading.ssh(mongosh(CHANGES))
    leading.ssh(mongosh(MAKE_VIEW))
    before, moment = hashes(leading), now(leading)
    leading.ssh(mongosh(LOSSES))
    leading.ssh(mongosh(LATER))
    several.first.ssh(f"{PROGRAM} slice")
    said = several.must("restore", "--at", moment, "--yes", *ON)
    assert "documents copied" in said
    for host in several.hosts:
        wait_until(f"{host.name} has all data", lambda host=host: hashes(host) == before)
        assert {"paid", "unpaid"} & {*names(host)} == {"paid"}
        assert not [name for name in names(host) if "slipway" in name]
        assert host.ssh(mongosh('print(db.getSiblingDB("later").getCollectionNames().length)')) == "0"
    several.first.wait_until_healthy()
    wait_until("there is another full backup", lambda: not state(several.first).get("awaits", True))
    # Of the restored data, from which the next seconds follow.
    primary(several).ssh(mongosh('db.getSiblingDB("other").things.insertOne({ _id: "after" });'))
    after, moment = hashes(several.first), now(several.first)
    primary(several).ssh(mongosh(LOSSES))
    several.first.ssh(f"{PROGRAM} slice")
    several.must("restore", "--at", moment, "--only", "other", "--yes", *ON)
    assert hashes(primary(several))["other"] == after["other"]
    assert several.plan(*ON) == []


def test_a_second_of_before_a_restore_can_be_restored(several: DatabaseServers) -> None:
    def more() -> str:
        return primary(several).ssh(mongosh('print(db.getSiblingDB("codementee").more.countDocuments())'))

    primary(several).ssh(mongosh('db.getSiblingDB("codementee").more.insertOne({ _id: 1 });'))
    moment = now(several.first)
    oldest = json.loads(several.must("backup", "list", "--json", *ON))[several.first.name]["near"]["backups"][0]["id"]
    several.must("restore", "--id", oldest, "--yes", *ON)
    assert more() == "0"
    wait_until("there is another full backup", lambda: not state(several.first).get("awaits", True))
    several.must("restore", "--at", moment, "--yes", *ON)
    assert more() == "1"
