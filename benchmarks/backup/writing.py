"""A writer on a host, whose acknowledged writes are known here, and the documents that a database has of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from slipway.lab.hosts import Host
from slipway.lab.steps import StepFailed, run

# Of the release's environment, which has pymongo.
PYTHON = "$(ls -d /var/www/codementee/venvs/*/bin/python | head -n 1)"
CONNECT = """
import hashlib, json, os, sys, time
from pymongo import MongoClient
url = open("/etc/codementee/credentials/MONGO_URL").read().strip()
database = MongoClient(url).get_default_database()
"""
# A write is acknowledged once it is in the journal of a majority of the members. `opTime` is that of its oplog entry.
WRITE = """
number = database.written.estimated_document_count()
while True:
    one = {"_id": number, "text": "%064d" % number}
    said = database.command({"insert": "written", "documents": [one], "writeConcern": {"w": "majority", "j": True}})
    time_of = said.get("opTime", {}).get("ts") or said["operationTime"]
    print(number, time_of.time, time_of.inc, flush=True)
    number += 1
    time.sleep(PAUSE)
"""
READ = """
digest, last, count = hashlib.sha256(), -1, 0
for one in database.written.find().sort("_id", 1):
    digest.update(f"{one['_id']}:{one['text']};".encode())
    last, count = one["_id"], count + 1
print(json.dumps([count, last, digest.hexdigest()]))
"""
# A KiB each, of which half compresses well.
FILL = """
for _ in range(COUNT // 1000):
    many = [{"text": os.urandom(256).hex(), "more": "x" * 400, "number": number} for number in range(1000)]
    database.filled.insert_many(many, ordered=False)
print(json.dumps(database.command("dbStats")["dataSize"]))
"""


@dataclass(frozen=True)
class Written:
    """An acknowledged write: its number, counted from 0, and the second of its entry in the oplog."""

    number: int
    second: int


class Writer:
    """Writes on a host until it is ended, or the host dies."""

    def __init__(self, host: Host, pause: float = 0.02) -> None:
        program = CONNECT + WRITE.replace("PAUSE", str(pause))
        command = host.ssh_argv(f"{PYTHON} -u -c {_quoted(program)}")
        self.written: list[Written] = []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            number, second, _ = line.split()
            self.written.append(Written(int(number), int(second)))

    def end(self) -> list[Written]:
        """The acknowledged writes, in order."""
        self._process.kill()
        self._process.wait()
        self._thread.join(timeout=30)
        return self.written


def found(host: Host) -> tuple[int, int, str]:
    """The number of written documents, the last one's number (-1 for none), and a hash of them all."""
    count, last, digest = json.loads(run("Read the documents", host.ssh_argv(f"{PYTHON} -c {_quoted(CONNECT + READ)}")))
    return count, last, digest


def expected(numbers: Sequence[int]) -> tuple[int, int, str]:
    """What `found` is for exactly these documents."""
    digest = hashlib.sha256()
    for number in numbers:
        digest.update(f"{number}:{number:064d};".encode())
    return len(numbers), numbers[-1] if numbers else -1, digest.hexdigest()


def fill(host: Host, gigabytes: float) -> int:
    """Fill another collection with documents of so many GiB in all; their size in bytes."""
    program = CONNECT + FILL.replace("COUNT", str(int(gigabytes * 2**20)))
    return round(float(run("Fill the database", host.ssh_argv(f"{PYTHON} -c {_quoted(program)}"))))


def filled(host: Host) -> int:
    """The number of these documents."""
    program = CONNECT + "print(database.filled.count_documents({}))"
    return int(run("Count the documents", host.ssh_argv(f"{PYTHON} -c {_quoted(program)}")))


def on(host: Host, script: str) -> str:
    """The output of a shell script that root runs on the host. Raises StepFailed."""
    try:
        return run(script.split("\n", 1)[0][:60], host.ssh_argv(script)).strip()
    except StepFailed as error:
        raise StepFailed(error.step, f"{error.why}: {error.output[-1000:]}") from None


def _quoted(program: str) -> str:
    return "'" + program.replace("'", "'\\''") + "'"
