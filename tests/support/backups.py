"""Backups of a lab host: how to enable them, and hashes of its data by MongoDB itself."""

from __future__ import annotations

import json
from typing import Any

from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

PASSWORD = "9b7c-of-the-repositories-2f51"
PLACE = "/srv/backup"
ON = ("--data", f'backup_repositories={{"near": "{PLACE}"}}')
PROGRAM, STATE = "/usr/lib/slipway/backup", "/var/lib/slipway/backup/state.json"
# Everything that a slice can contain: each type of value, changes of a document, indexes, renames, a transaction.
CHANGES = """
const site = db.getSiblingDB("codementee"), text = "x".repeat(500);
const order = (n) => ({ _id: n, n, at: new Date(), like: /x/i, in: { a: [1, { b: text }] } });
site.orders.insertMany([...Array(500).keys()].map(order));
site.orders.updateMany({ n: { $lt: 100 } }, { $set: { paid: true, "in.c": NumberDecimal("1.5") }, $inc: { n: 1000 } });
site.orders.deleteMany({ n: { $gt: 450, $lt: 1000 } });
site.orders.createIndex({ n: 1 }, { unique: true });
site.before.insertOne({ x: 1 }); site.before.renameCollection("renamed");
site.gone.insertOne({ x: 1 }); site.gone.drop();
const session = db.getMongo().startSession();
session.startTransaction();
session.getDatabase("codementee").orders.insertOne({ _id: "in a transaction", n: 5001 });
session.getDatabase("codementee").renamed.insertOne({ _id: "in the same" });
session.commitTransaction();
db.getSiblingDB("other").things.insertOne({ _id: 1 });
"""
LOSSES = """
const site = db.getSiblingDB("codementee");
site.orders.deleteMany({}); site.users.drop(); db.getSiblingDB("other").dropDatabase();
"""
HASHES = """
db.getMongo().setReadPref("secondaryPreferred");
const found = {};
for (const name of ["codementee", "other"]) found[name] = db.getSiblingDB(name).runCommand({ dbHash: 1 }).collections;
const site = db.getSiblingDB("codementee"), has = site.getCollectionNames().includes("orders");
found.indexes = has ? site.orders.getIndexes().map((one) => one.name) : [];
print(JSON.stringify(found));
"""


def hashes(host: LabHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.ssh(mongosh(HASHES)))
    return found


def state(host: LabHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.ssh(f"cat {STATE} || echo {{}}"))
    return found


def switch_on(host: LabHost) -> None:
    """Enable backups and make a first full one."""
    host.env["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    host.apply(*ON)
    wait_until("there is a full backup", lambda: "full" in state(host))


def now(host: LabHost) -> str:
    """A second in which only MongoDB itself writes, in the format of --at."""
    return host.ssh("sleep 1.1; date -u +%FT%TZ; sleep 1.1").strip()
