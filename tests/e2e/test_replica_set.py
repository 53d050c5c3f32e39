"""A standalone MongoDB becomes a replica set under writes, wherever an apply is interrupted."""

from __future__ import annotations

import base64
import json
import time

import pytest

from support.lab_host import LabHost, mongosh

pytestmark = pytest.mark.thorough

ALONE = ("--data", "mongodb_replica_set=")
PYTHON = "/var/www/codementee/current/backend/.venv/bin/python"
# With the backend's driver and user: prints each acknowledged write and the longest wait for one.
WRITER = """
import json, pathlib, sys, time, pymongo
url = pathlib.Path("/etc/codementee/credentials/MONGO_URL").read_text()
written = pymongo.MongoClient(url, serverSelectionTimeoutMS=20000).codementee.written
acknowledged, longest, last, end, n = [], 0.0, time.time(), time.time() + float(sys.argv[1]), 0
while time.time() < end:
    n += 1
    try:
        written.insert_one({"_id": n})
    except pymongo.errors.PyMongoError:
        continue
    acknowledged.append(n)
    longest, last = max(longest, time.time() - last), time.time()
there = {one["_id"] for one in written.find()}
print(json.dumps({"acknowledged": len(acknowledged), "lost": len({*acknowledged} - there), "longest": longest}))
"""


def is_set(server: LabHost) -> bool:
    return server.ssh(mongosh("print(db.hello().setName + ' ' + db.hello().isWritablePrimary)")) == "rs0 true"


@pytest.fixture
def alone(server: LabHost) -> LabHost:
    server.apply(*ALONE)
    assert server.ssh(mongosh("print(String(db.hello().setName))")) == "undefined"
    return server


def test_it_becomes_a_replica_set_by_one_restart_and_loses_no_acknowledged_write(alone: LabHost, say) -> None:
    """It already was one: to standalone and back."""
    text = base64.b64encode(WRITER.encode()).decode()
    alone.ssh(f"echo {text} | base64 -d > /root/writer.py; nohup {PYTHON} /root/writer.py 25 > /root/wrote 2>&1 &")
    time.sleep(3)
    before = alone.ssh("systemctl show --property=NRestarts,InvocationID --value mongod")
    since = alone.ssh("sleep 1; date +%s")
    alone.apply()
    assert alone.plan() == []
    assert is_set(alone)
    assert alone.ssh("systemctl show --property=NRestarts,InvocationID --value mongod") != before
    assert alone.ssh(f"journalctl -u mongod -o cat --no-pager --since @{since} | grep -c '^Starting mongod'") == "1"
    time.sleep(20)
    wrote = json.loads(alone.ssh("cat /root/wrote"))
    say(f"writes while MongoDB becomes a replica set: {wrote['acknowledged']}, longest pause {wrote['longest']:.1f} s")
    assert wrote["acknowledged"] > 500
    assert wrote["lost"] == 0
    assert wrote["longest"] <= 15
    alone.wait_until_healthy()


@pytest.mark.parametrize("operation", ["Create the replica set's key", "Configure MongoDB", "Sandbox MongoDB"])
def test_an_apply_that_is_cut_off_is_resumed_by_the_next(alone: LabHost, operation: str) -> None:
    running = alone.start("apply", "lab", "--yes", "--verbose")
    running.wait_for_operation(operation)
    running.kill()
    time.sleep(3)
    alone.wait_until_healthy()
    alone.apply()
    assert alone.plan() == []
    assert is_set(alone)
    alone.wait_until_healthy()


def test_a_set_not_initiated_before_a_power_cut_is_initiated_by_the_next_apply(alone: LabHost) -> None:
    """Its configuration is in force, and the set is not initiated."""
    server = alone
    server.apply()
    server.ssh(
        "systemctl stop mongod; by_itself='runuser -u mongodb -- mongod --dbpath /var/lib/mongodb';"
        " $by_itself --fork --logpath /tmp/log > /dev/null;"
        " mongosh --quiet --eval 'db.getSiblingDB(\"local\").dropDatabase()' > /dev/null;"
        " $by_itself --shutdown > /dev/null; systemctl start mongod"
    )
    assert server.operations("--only", "mongodb") == ["Begin MongoDB's replica set"]
    server.apply()
    assert is_set(server)
    server.wait_until_healthy()


def test_the_oplog_is_resized_without_a_restart(server: LabHost) -> None:
    server.apply()
    before = server.ssh("systemctl show --property=InvocationID --value mongod")
    server.apply("--data", "mongodb_oplog_mb=1200")
    assert server.plan("--data", "mongodb_oplog_mb=1200") == []
    assert server.ssh(mongosh('print(Number(db.getSiblingDB("local").oplog.rs.stats().maxSize) / 1048576)')) == "1200"
    assert server.ssh("systemctl show --property=InvocationID --value mongod") == before


def test_a_member_that_did_not_find_itself_at_its_start_is_a_member_again_after_an_apply(server: LabHost) -> None:
    elsewhere = "sed 's/.* mongodb-1.internal$/127.0.0.9 mongodb-1.internal/' /etc/hosts > /tmp/hosts"
    server.ssh(f"{elsewhere} && cat /tmp/hosts > /etc/hosts && systemctl restart mongod")
    assert not is_set(server)
    server.apply()
    server.wait_until_healthy()
    assert server.plan() == []
