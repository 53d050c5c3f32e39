"""Backups restore to the second, compared by MongoDB's own hash of each collection; failed ones never count."""

from __future__ import annotations

import gzip
import json
import re
import time

import pytest

from support.backups import CHANGES, LOSSES, ON, PASSWORD, PLACE, PROGRAM, hashes, now, state, switch_on
from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

KEPT = "/var/lib/mongodb.before-restore"


FILL = 'db.getSiblingDB("codementee").fill.insertOne({ n, t });'


@pytest.fixture(scope="module", autouse=True)
def backed_up(server: LabHost) -> None:
    switch_on(server)


def slipway(server: LabHost, *words: str) -> str:
    done = server.slipway(*words, "lab", *ON)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lists(server: LabHost) -> dict:
    return json.loads(slipway(server, "backup", "list", "--json"))[server.name]["near"]


def test_a_server_is_restored_to_the_second_before_its_data_were_lost(server: LabHost) -> None:
    server.ssh(mongosh(CHANGES))
    before, second = hashes(server), now(server)
    server.ssh(mongosh(LOSSES))
    lost = hashes(server)
    assert lost != before
    server.ssh(f"{PROGRAM} slice")
    said = slipway(server, "restore", "--at", second, "--yes")
    assert "documents: equal to the backup's record" in said
    assert hashes(server) == before
    assert server.is_healthy()
    assert server.ssh("ls /var/www/codementee/maintenance 2> /dev/null || echo none") == "none"
    # The replaced data are kept, and a full backup of the restored ones starts automatically.
    assert server.ssh(f"stat -c %U {KEPT}") == "mongodb"
    wait_until("there is another full backup", lambda: not state(server).get("awaits", True))
    server.ssh(f"{PROGRAM} slice")
    assert server.plan(*ON) == []


def test_the_drill_restores_a_backup_and_status_shows_it(server: LabHost) -> None:
    said = slipway(server, "backup", "drill")
    assert "The drill passed" in said
    report = json.loads(server.ssh("cat /var/lib/slipway/backup/drill.json"))
    assert report["result"] == "passed"
    assert report["documents"] > 450
    assert len(report["signature"]) == 64
    assert server.ssh("ls /var/lib | grep drill || echo none") == "none"
    status = slipway(server, "status")
    assert "slipway-drill.timer active (waiting)\n" in status
    assert "drill passed" in status


@pytest.mark.thorough
def test_a_server_with_backups_is_verified(server: LabHost) -> None:
    # As the timers do, in the services' sandbox.
    for unit in ("slice", "check", "drill", "backup", "slice"):
        server.ssh(f"systemctl start slipway-{unit}")
    done = server.slipway("verify", "lab", *ON)
    assert done.returncode == 0, done.stdout


@pytest.mark.thorough
def test_one_collection_is_restored_and_the_others_stay(server: LabHost) -> None:
    server.ssh(mongosh('db.getSiblingDB("codementee").one.insertMany([{_id: 1}, {_id: 2}])'))
    before, second = hashes(server)["codementee"], now(server)
    server.ssh(mongosh('const s = db.getSiblingDB("codementee"); s.one.deleteMany({}); s.two.insertOne({_id: 1})'))
    server.ssh(f"{PROGRAM} slice")
    slipway(server, "restore", "--only", "codementee.one", "--at", second, "--yes")
    after = hashes(server)["codementee"]
    assert after["one"] == before["one"]
    assert "two" in after
    done = server.slipway("restore", "lab", *ON, "--only", "codementee.never", "--yes")
    assert done.returncode == 1
    assert "found no codementee.never in the backup" in done.stderr


EXPIRED = """
db.adminCommand({ setParameter: 1, ttlMonitorEnabled: false, ttlMonitorSleepSecs: 1 });
const site = db.getSiblingDB("codementee");
site.sessions.createIndex({ at: 1 }, { expireAfterSeconds: 1 });
site.sessions.insertMany([...Array(3000).keys()].map((n) => ({ _id: n, at: new Date(0) })));
"""


@pytest.mark.thorough
def test_documents_that_have_expired_since_are_restored_and_expire_again(server: LabHost) -> None:
    server.ssh(mongosh(EXPIRED))
    second = now(server)
    server.ssh(mongosh("db.adminCommand({ setParameter: 1, ttlMonitorEnabled: true })"))
    count = mongosh('print(db.getSiblingDB("codementee").sessions.countDocuments())')
    wait_until("they have expired", lambda: server.ssh(count) == "0")
    server.ssh(f"{PROGRAM} slice")
    said = slipway(server, "restore", "--only", "codementee.sessions", "--at", second, "--yes")
    assert "codementee.sessions: 3000 documents copied" in said
    assert "Replaced: codementee.sessions; all others stay" in said
    wait_until("they have expired", lambda: server.ssh(count) == "0")
    server.ssh(mongosh("db.adminCommand({ setParameter: 1, ttlMonitorSleepSecs: 60 })"))


@pytest.mark.thorough
def test_a_mongodb_whose_data_are_lost_is_restored_as_the_runbook_says(server: LabHost) -> None:
    # Without the collection that was replaced by the test before.
    server.ssh(f"{PROGRAM} now")
    before = hashes(server)
    server.ssh("systemctl stop mongod; mv /var/lib/mongodb /var/lib/mongodb.broken")
    server.apply(*ON)
    for step in ("slice", "now"):
        assert "MongoDB has begun anew since the last full backup" in server.ssh(f"{PROGRAM} {step} 2>&1 || :")
    slipway(server, "restore", "--yes")
    assert hashes(server) == before
    server.ssh("rm -r /var/lib/mongodb.broken")
    wait_until("there is another full backup", lambda: not state(server).get("awaits", True))
    server.ssh(f"{PROGRAM} slice")
    server.wait_until_healthy()
    assert server.plan(*ON) == []


@pytest.mark.thorough
def test_a_dump_that_fails_or_is_killed_never_counts(server: LabHost) -> None:
    before = lists(server)["backups"]
    server.ssh("mv /usr/bin/mongodump /usr/bin/mongodump.real")
    half = "printf '#!/bin/sh\\nhead -c 3000000 /dev/urandom; {}\\n' > /usr/bin/mongodump; chmod 755 /usr/bin/mongodump"
    try:
        server.ssh(half.format("exit 1"))
        done = server.slipway("backup", "now", "lab", *ON)
        assert done.returncode == 1
        assert "mongodump ended with 1" in done.stderr
        server.ssh(half.format("exec sleep 60"))
        server.ssh(f"{PROGRAM} now & sleep 4; kill -KILL $!; pkill -x sleep || :", check=False)
    finally:
        server.ssh("mv /usr/bin/mongodump.real /usr/bin/mongodump")
    assert lists(server)["backups"] == before


@pytest.mark.thorough
def test_two_backups_at_once_are_one(server: LabHost) -> None:
    said = server.ssh(f"{PROGRAM} now > /dev/null & sleep 0.7; {PROGRAM} now; wait", check=False)
    said += server.ssh(f"( {PROGRAM} now > /dev/null 2>&1 & sleep 0.7; {PROGRAM} now 2>&1; wait ) || :")
    assert "another backup is running" in said


@pytest.mark.thorough
def test_a_wrong_password_and_a_repository_out_of_reach_are_reported(server: LabHost) -> None:
    gaps = lists(server)["gaps"]
    server.ssh("printf wrong > /etc/codementee/credentials/BACKUP_PASSWORD")
    done = server.slipway("backup", "list", "lab", *ON)
    assert done.returncode == 1
    assert "BACKUP_PASSWORD is not the one that the repository was created with" in done.stderr
    server.apply(*ON)
    server.ssh(f"mv {PLACE} {PLACE}.away; touch {PLACE}")
    try:
        assert server.slipway("backup", "list", "lab", *ON).returncode == 1
        assert "MongoDB" not in server.ssh(f"{PROGRAM} slice 2>&1 || :")
    finally:
        server.ssh(f"rm {PLACE}; mv {PLACE}.away {PLACE}")
    # Writes made meanwhile are in the next slice.
    server.ssh(f"{PROGRAM} slice")
    assert lists(server)["gaps"] == gaps


@pytest.mark.thorough
def test_a_repository_whose_disk_is_full_keeps_no_other_from_its_backup(server: LabHost) -> None:
    # On a disk of its own.
    server.ssh("mkdir -p /srv/small; mount -t tmpfs -o size=40m tmpfs /srv/small")
    both = ("--data", f'backup_repositories={{"near": "{PLACE}", "small": "/srv/small/backup"}}')
    try:
        server.apply(*both)
        # The apply begins it.
        wait_until("the new repository has a full backup", lambda: "small" in state(server)["fulls"])
        wait_until("it has ended", lambda: server.ssh("systemctl is-active slipway-backup", check=False) == "inactive")
        server.ssh("head -c 30M /dev/urandom > /srv/small/uploads; dd if=/dev/zero of=/srv/small/rest bs=1M || :")
        server.ssh(mongosh('db.getSiblingDB("codementee").fill.insertOne({ text: "x".repeat(5e6) })'))
        before = len(lists(server)["backups"])
        done = server.slipway("backup", "now", "lab", *both)
        assert done.returncode == 1
        assert "repository small: " in done.stderr
        assert "the disk of the repository is full" in done.stderr
        assert len(lists(server)["backups"]) == before + 1
        assert "failed: repository small" in server.slipway("status", "lab", *both).stdout
        server.ssh("rm /srv/small/rest /srv/small/uploads")
        done = server.slipway("backup", "now", "lab", *both)
        assert done.returncode == 0, done.stderr
        assert "failed" not in server.ssh(f"{PROGRAM} tell backup")
    finally:
        server.apply(*ON)
        server.ssh("umount /srv/small")
    assert server.plan(*ON) == []


@pytest.mark.thorough
def test_a_damaged_repository_is_named_and_takes_the_place_of_nothing(server: LabHost) -> None:
    server.ssh(f"{PROGRAM} slice")
    before = hashes(server)
    # One byte of each pack of data.
    spoil = "printf x | dd of=$file bs=1 seek=40 conv=notrunc status=none"
    server.ssh(f"cp -a {PLACE} {PLACE}.well; for file in {PLACE}/data/*/*; do chmod u+w $file; {spoil}; done")
    server.ssh("rm -rf /var/cache/slipway-backup/*")
    try:
        for words in (("restore", "--yes"), ("backup", "check")):
            done = server.slipway(*words, "lab", *ON)
            assert done.returncode == 1
            assert "repository near: " in done.stderr
            assert "the repository is damaged (docs/runbooks.md)" in done.stderr
        assert hashes(server) == before
        assert server.is_healthy()
        # As the runbook says.
        server.ssh(f"mv {PLACE} {PLACE}.damaged")
        assert "is its disk mounted" in server.slipway("backup", "now", "lab", *ON).stderr
        slipway(server, "backup", "now", "--anyway")
        assert "Restored" in slipway(server, "restore", "--yes")
        assert hashes(server) == before
        wait_until("there is another full backup", lambda: not state(server).get("awaits", True))
    finally:
        server.ssh(f"rm -rf {PLACE} {PLACE}.damaged; mv {PLACE}.well {PLACE}; rm -rf /var/cache/slipway-backup/*")
    slipway(server, "backup", "now")


@pytest.mark.thorough
def test_a_dump_of_a_mongodb_that_dies_never_counts(server: LabHost) -> None:
    server.ssh(mongosh(f'const t = "x".repeat(1e6); for (let n = 0; n < 60; n++) {FILL}'))
    before = lists(server)["backups"]
    kill = "until pgrep -x mongodump > /dev/null; do sleep 0.05; done; sleep 0.5; pkill -KILL -x mongod"
    said = server.ssh(f"{PROGRAM} now 2>&1 & {kill}; wait")
    assert "mongodump ended with" in said
    server.wait_until_healthy()
    assert lists(server)["backups"] == before
    slipway(server, "backup", "now")
    assert len(lists(server)["backups"]) == len(before) + 1


@pytest.mark.thorough
@pytest.mark.parametrize("moment", ["Restoring backup", "Applying the oplog"])
def test_a_restore_that_is_killed_leaves_the_data_as_they_were(server: LabHost, moment: str) -> None:
    server.ssh(f"{PROGRAM} slice")
    before = hashes(server)
    server.ssh(
        f"{PROGRAM} restore > /run/said 2>&1 & until grep -q '{moment}' /run/said; do sleep 0.05; done; kill -KILL $!;"
        " sleep 1"
    )
    assert server.ssh("pgrep -c -x mongod") == "1"
    assert hashes(server) == before
    assert server.is_healthy()
    assert "Restored" in slipway(server, "restore", "--yes")
    assert hashes(server) == before


@pytest.mark.thorough
def test_a_restore_that_is_killed_as_mongodb_starts_with_its_data_is_undone_and_the_site_opened(
    server: LabHost,
) -> None:
    then = lists(server)["backups"][-1]["since"]
    server.ssh(mongosh('db.getSiblingDB("codementee").orders.insertOne({_id: "after the backup"})'))
    server.ssh(f"{PROGRAM} slice")
    before = hashes(server)
    flag, mark = "/var/www/codementee/maintenance", "/var/lib/mongodb/.slipway-restored"
    server.ssh(
        f"{PROGRAM} restore --at {then} > /run/said 2>&1 &"
        f" timeout 120 sh -c 'until [ -e {mark} ] && [ -e {flag} ]; do sleep 0.01; done';"
        " kill -KILL $! || cat /run/said"
    )
    wait_until("the site is open", lambda: server.ssh(f"ls {flag} {mark} 2> /dev/null | wc -l") == "0")
    server.wait_until_healthy()
    assert hashes(server) == before
    journal = "journalctl -u slipway-reopen -u slipway-settle -o cat"
    told = "A restore was killed; the sites are open again"
    wait_until("it is told", lambda: told in server.ssh(journal))
    said = server.ssh(journal)
    assert re.search("(taken|rolled) back", said), said


@pytest.mark.thorough
def test_an_exchange_that_is_cut_off_is_undone_before_mongodb_starts(server: LabHost) -> None:
    """As by a power cut, between the two renames of an exchange."""
    before = hashes(server)
    data = "/var/lib/mongodb"
    server.ssh(
        f"systemctl stop mongod; mkdir {data}.aside; chown mongodb: {data}.aside; printf out > {data}.exchange;"
        f" mv {data}/WiredTiger* {data}.aside/; systemctl start mongod"
    )
    assert hashes(server) == before
    assert server.ssh(f"ls -d {data}.aside {data}.exchange 2> /dev/null || echo none") == "none"
    server.wait_until_healthy()


@pytest.mark.thorough
def test_a_lost_server_is_restored_on_a_fresh_host(server: LabHost, fresh_server: LabHost) -> None:
    """From the repository, a fresh host gets the same documents, uploads and secrets."""
    secret = "/etc/codementee/credentials/JWT_SECRET"
    server.ssh(mongosh('db.getSiblingDB("codementee").last.insertOne({_id: 1})'))
    # One that no apply makes, of an owner of its own.
    server.ssh("mkdir -p /srv/volume/notes; echo kept > /srv/volume/notes/1; chown -R 1234 /srv/volume/notes")
    server.ssh("ln -sfn /srv/volume/notes /srv/notes")
    server.apply(*ON, "--data", 'backup_paths=["/srv/notes"]')
    server.ssh(f"{PROGRAM} now")
    before, kept = hashes(server), server.ssh(f"cat {secret}")
    archive = server.ssh("tar -c -C /srv backup | base64 -w 0")
    fresh_server.env["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    assert fresh_server.ssh(f"cat {secret}") is not None
    fresh_server.ssh("mkdir -p /srv")
    for begin in range(0, len(archive), 100_000):
        fresh_server.ssh(f"printf %s {archive[begin : begin + 100_000]} >> /srv/backup.tar.64")
    fresh_server.ssh("base64 -d /srv/backup.tar.64 | tar -x -C /srv; rm /srv/backup.tar.64")
    began = time.monotonic()
    fresh_server.apply(*ON)
    is_active = "systemctl is-active slipway-backup"
    wait_until("the first backup has failed", lambda: fresh_server.ssh(is_active, check=False) == "failed")
    # Its own empty databases must not become the newest backup.
    done = fresh_server.slipway("backup", "now", "lab", *ON)
    assert "found another server's backups" in done.stderr
    # Applies, restores and verifies: an exit code of 0 says that each did.
    slipway(fresh_server, "rebuild", "--yes")
    assert time.monotonic() - began < 600
    assert hashes(fresh_server) == before
    assert fresh_server.ssh(f"cat {secret}") == kept
    assert fresh_server.ssh("cat /srv/volume/notes/1; stat -c %u /srv/volume/notes") == "kept\n1234"
    fresh_server.wait_until_healthy()
    assert fresh_server.plan(*ON) == []


@pytest.mark.thorough
def test_disabling_backups_removes_the_timers_and_keeps_the_repository(server: LabHost) -> None:
    server.env.pop("SLIPWAY_SECRET_BACKUP_PASSWORD")
    server.apply()
    assert server.plan() == []
    assert server.ssh("systemctl list-timers --all | grep -c slipway-backup || :") == "0"
    assert server.ssh(f"ls {PLACE}/config") == f"{PLACE}/config"
    server.env["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    server.apply(*ON)
    assert server.plan(*ON) == []


@pytest.mark.thorough
def test_a_copy_for_developers_is_anonymised_before_it_leaves_the_server(server: LabHost, tmp_path) -> None:
    change = 'db.getSiblingDB("codementee").users.updateMany({}, { $set: { email: "nobody@example.org" } })'
    hook = f"mongosh --quiet $MONGO_URL --eval '{change}' > /dev/null"
    with_hook = (*ON, "--data", f"backup_anonymise={hook}")
    copy = tmp_path / "copy.gz"
    done = server.slipway("backup", "pull", "lab", "--output", str(copy), *ON)
    assert (done.returncode, copy.exists()) == (1, False)
    assert "backup_anonymise is empty" in done.stderr
    server.apply(*with_hook)
    done = server.slipway("backup", "pull", "lab", "--output", str(copy), *with_hook)
    assert done.returncode == 0, done.stdout + done.stderr
    content = gzip.decompress(copy.read_bytes())
    assert b"nobody@example.org" in content
    # Neither the admin of the example nor MongoDB's users.
    assert not re.search(rb"admin@|SCRAM-SHA-256|backend@", content)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert server.ssh("ls /var/lib | grep pull || echo none") == "none"
    server.apply(*ON)
