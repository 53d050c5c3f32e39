"""MongoDB for backups: its oplog and documents as bytes, a dump, and a private mongod to restore into."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from slipway.backups.chain import Moment
from slipway.backups.host import Facts, Failed, last_lines, private_folder, secret, text_of
from slipway.backups.oplog import DOCUMENT, LONG, TIMESTAMP, elements, moment_of, timestamp
from slipway.facts.mongodb_protocol import Connection, Typed, decode

ADMIN_PASSWORD = "MONGODB_ADMIN_PASSWORD"  # noqa: S105  its name
SYSTEMS_OWN = ("admin", "config", "local")
# A server keeps snapshots for 5 minutes: https://www.mongodb.com/docs/manual/reference/parameters/
# #mongodb-parameter-param.minSnapshotHistoryWindowInSeconds
TOO_OLD = (239, 246)
START_SECONDS = 60
# Whether MongoDB removes documents that have expired.
TTL = "ttlMonitorEnabled"
# The collections of users, in the database admin.
USERS = ("system.roles", "system.users")
# A member's name and port.
Address = tuple[str, int]


class Server:
    """A connection that returns documents as bytes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def ask(self, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
        """The answer. Raises Refused if the command fails."""
        return self._checked(decode(self.connection.answer(command, database)), command)

    @staticmethod
    def _checked(answer: dict[str, Any], command: dict[str, Any]) -> dict[str, Any]:
        if not answer.get("ok"):
            raise Refused(int(answer.get("code", 0)), f"MongoDB rejects {next(iter(command))}: {answer.get('errmsg')}")
        return answer

    def find(self, database: str, collection: str, **options: Any) -> Iterator[bytes]:
        """The documents of a query, each as BSON."""
        command: dict[str, Any] = {"find": collection, **options}
        while True:
            answer = self.connection.answer(command, database)
            cursor = next((one.value for one in elements(answer) if one.name == "cursor"), None)
            if cursor is None:
                self._checked(decode(answer), command)
                return
            parts = {one.name: one for one in elements(cursor)}
            batch = parts.get("firstBatch") or parts["nextBatch"]
            yield from (one.value for one in elements(batch.value))
            if not struct.unpack("<q", parts["id"].value)[0]:
                return
            command = {"getMore": Typed(LONG, parts["id"].value), "collection": collection}

    def newest(self, until: Moment = (2**32 - 1, 0)) -> Moment:
        """The moment of the oplog's last entry, up to a moment."""
        before = {"ts": {"$lte": Typed(TIMESTAMP, timestamp(until))}}
        newest = self.find("local", "oplog.rs", filter=before, sort={"$natural": -1}, limit=1, projection={"ts": 1})
        for document in newest:
            return next(moment_of(one.value) for one in elements(document) if one.name == "ts")
        raise Failed("MongoDB has no oplog")

    def following(self, moment: Moment) -> Moment:
        """The moment of the oplog's first entry from a moment on; the last possible one if there is none."""
        since = {"ts": {"$gte": Typed(TIMESTAMP, timestamp(moment))}}
        for document in self.find("local", "oplog.rs", filter=since, limit=1, projection={"ts": 1}):
            return next(moment_of(one.value) for one in elements(document) if one.name == "ts")
        return 2**32 - 1, 0

    def set_id(self) -> str:
        """What tells a replica set from one of the same name: its members have it since it was initiated."""
        settings = self.ask({"replSetGetConfig": 1}).get("config", {}).get("settings", {})
        return bytes(settings.get("replicaSetId", b"")).hex()

    def applied(self) -> Moment:
        """The moment of the last entry that reads see: since MongoDB 8.0 a secondary writes entries to its oplog before
        it applies them. https://www.mongodb.com/docs/manual/release-notes/8.0/"""
        reached = self.ask({"replSetGetStatus": 1})["optimes"]["appliedOpTime"]["ts"]
        return self.newest((reached >> 32, reached & 0xFFFFFFFF))

    def oplog(self, begin: Moment, end: Moment) -> Iterator[bytes]:
        """The entries between two moments, both inclusive."""
        between = {"$gte": Typed(TIMESTAMP, timestamp(begin)), "$lte": Typed(TIMESTAMP, timestamp(end))}
        yield from self.find("local", "oplog.rs", filter={"ts": between})

    def collections(self) -> list[tuple[str, str]]:
        """Databases and their collections, without the system databases."""
        found = []
        for database in (its["name"] for its in self.ask({"listDatabases": 1, "nameOnly": True})["databases"]):
            if database not in SYSTEMS_OWN:
                command = {"listCollections": 1, "nameOnly": True, "cursor": {"batchSize": 10**6}}
                listed = self.ask(command, database)["cursor"]["firstBatch"]
                found += [
                    (database, one["name"])
                    for one in listed
                    if one["type"] == "collection" and not one["name"].startswith("system.")
                ]
        return sorted(found)

    def fingerprint(self, moment: Moment | None = None) -> dict[str, list[Any]]:
        """The number of documents of each collection and a hash of them, in the order of their ids; at a moment of the
        last minutes, or now. It blocks no writes."""
        concern: dict[str, Any] = {}
        if moment:
            at = Typed(TIMESTAMP, timestamp(moment))
            concern = {"readConcern": {"level": "snapshot", "atClusterTime": at}}
        return {f"{database}.{name}": self.hashed(database, name, concern) for database, name in self.collections()}

    def hashed(self, database: str, name: str, concern: dict[str, Any] | None = None) -> list[Any]:
        """The same for one collection."""
        count, digest = 0, hashlib.sha256()
        try:
            for document in self.find(database, name, sort={"_id": 1}, batchSize=1000, **(concern or {})):
                count += 1
                digest.update(document)
        except Refused as refusal:
            if refusal.code in TOO_OLD:
                return [-1, ""]
            raise
        return [count, digest.hexdigest()]


class Refused(Failed):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def live(facts: Facts, member: Address | None = None, patience: int = 0) -> Server:
    """The site's MongoDB, as its administrator: the one on this host, or another member of its replica set. It may be
    away for `patience` seconds. Raises Failed."""
    address, port = member or (facts.address, facts.port)
    end = time.monotonic() + patience
    while True:
        try:
            connection = Connection(address, port, 300, authority=facts.authority if member else "")
            is_in = connection.logs_in(facts.admin, text_of(secret(facts, ADMIN_PASSWORD)))
            break
        except OSError as error:
            if time.monotonic() >= end:
                raise Failed(f"MongoDB does not answer at {address}:{port}: {error}") from None
            time.sleep(1)
    if not is_in:
        raise Failed(f"MongoDB rejects the password of {facts.admin}")
    return Server(connection)


def uri(facts: Facts, member: Address | None = None) -> str:
    """The same for MongoDB's tools, without the password."""
    address, port = member or (facts.address, facts.port)
    tls = f"&tls=true&tlsCAFile={quote(facts.authority, safe='')}" if member and facts.authority else ""
    return f"mongodb://{facts.admin}@{address}:{port}/?authSource=admin&directConnection=true{tls}"


@contextmanager
def login_file(facts: Facts, place: str = "") -> Iterator[str]:
    """A configuration file for MongoDB's tools with a URI, by default that of this host's MongoDB, and the password."""
    password = text_of(secret(facts, ADMIN_PASSWORD)).replace("\\", "\\\\").replace('"', '\\"')
    with private_folder() as folder:
        with open(f"{folder}/login", "w", encoding="utf-8") as file:
            file.write(f'uri: "{place or uri(facts)}"\npassword: "{password}"\n')
        yield f"{folder}/login"


def difference(recorded: dict[str, list[Any]], found: dict[str, list[Any]]) -> list[str]:
    """The differences to the record, a line each. A collection that could not be hashed (-1) must only exist."""
    lines = []
    for name in sorted({*recorded, *found}):
        before, now = recorded.get(name, [0, "none"]), found.get(name, [0, "none"])
        if before == now or (before[0] == -1 and name in found):
            continue
        what = f"{before[0]} -> {now[0]} documents" if before[0] != now[0] else "other documents"
        lines.append(f"{name}: {what}")
    return lines


class Scratch(Server):
    """A private mongod, on a socket that only root can reach, with data in a folder next to the site's."""

    def __init__(self, facts: Facts, folder: str, place: str) -> None:
        self.facts, self.folder, self.place = facts, folder, place
        self.socket = f"{place}/mongod.sock"

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder, mode=0o750)
        shutil.chown(self.folder, "mongodb", "mongodb")
        shutil.chown(self.place, "mongodb", "mongodb")
        self.start_again()

    def start_again(self) -> None:
        own = ["--dbpath", self.folder, "--bind_ip", self.socket, "--wiredTigerCacheSizeGB", "0.25"]
        # It would remove documents of the backup that have expired since, which the comparison would miss.
        own += ["--setParameter", f"{TTL}=false"]
        with open(f"{self.place}/log", "wb") as log:
            self.process = subprocess.Popen(
                [*self.facts.mongod, *own],
                stdout=log,
                stderr=log,
                user="mongodb",
                group="mongodb",
                extra_groups=[],
                preexec_fn=end_with_parent,
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError):
                super().__init__(Connection(self.socket, 0, 3600))
                return
            time.sleep(0.1)
        self.stop()
        with open(f"{self.place}/log", encoding="utf-8", errors="replace") as log:
            raise Failed(f"a mongod to restore into does not start: {last_lines(log.read(), 3)}")

    def stop(self) -> None:
        """Shut down cleanly, so that its data are complete on the disk."""
        if self.process.poll() is None:
            with suppress(OSError, Failed):
                self.ask({"shutdown": 1})
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def uri(self) -> str:
        return f"mongodb://{self.socket.replace('/', '%2F')}/?directConnection=true"

    def load(self, source: subprocess.Popen[bytes]) -> None:
        """Restore an archive from the output of another command. Raises Failed."""
        words = ["mongorestore", "--quiet", "--uri", self.uri, "--archive", "--stopOnError", "--nsExclude", "config.*"]
        done = subprocess.run(
            words, stdin=source.stdout, capture_output=True, text=True, check=False, preexec_fn=end_with_parent
        )
        assert source.stdout
        source.stdout.close()
        code = source.wait()
        # A mongorestore that fails ends it, and knows why.
        if code and not (done.returncode and code == -signal.SIGPIPE):
            raise Failed("reading the backup failed before its end")
        if done.returncode:
            raise Failed(f"mongorestore ended with {done.returncode}: {last_lines(done.stderr)}")

    def replay(self, file: str) -> None:
        """Apply the oplog entries in a BSON file. Raises Failed."""
        if not os.path.getsize(file):
            return
        empty = f"{self.place}/empty"
        os.makedirs(empty, exist_ok=True)
        words = ["mongorestore", "--quiet", "--uri", self.uri, "--oplogReplay", "--oplogFile", file, empty]
        done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=end_with_parent)
        if done.returncode:
            raise Failed(f"mongorestore ended with {done.returncode}: {last_lines(done.stderr)}")

    def forget_users(self) -> None:
        for collection in USERS:
            self.ask({"delete": collection, "deletes": [{"q": {}, "limit": 0}]})

    def take_users(self, server: Server) -> None:
        """Copy another server's users and roles, in place of those of the backup: this host has the passwords, and who
        was removed stays removed."""
        self.forget_users()
        for collection in USERS:
            for document in server.find("admin", collection):
                id_ = next(one.value for one in elements(document) if one.name == "_id")
                change = {
                    "q": {"_id": Typed(2, id_)},
                    "u": Typed(DOCUMENT, document),
                    "upsert": True,
                }
                self.ask({"update": collection, "updates": [change]})


def end_with_parent() -> None:
    """Kill it if its parent dies: what a killed restore has started would go on in the MongoDB of the next one.
    https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def dump_command(login: str) -> Sequence[str]:
    return ["mongodump", "--quiet", "--config", login, "--archive"]
