"""The alarms' configuration, and access to the host.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from typing import Any, NamedTuple

# A secondary that is further behind lacks what it would need as primary.
LAG_SECONDS = 60


class Site(NamedTuple):
    domain: str
    # The backend's health path, "" for none, and the folder of the certificate.
    health: str
    certificate: str
    # While this file exists, the site is in maintenance and answers 503.
    maintenance: str


class Facts(NamedTuple):
    """The program's configuration."""

    host: str
    # The folder of the secrets, a file each; systemd passes them to the unit in another one.
    credentials: str
    mail_to: list[str]
    mail_from: str
    smtp: str
    smtp_security: str
    smtp_user: str
    # Types by name.
    webhooks: dict[str, str]
    heartbeat: bool
    sites: list[Site]
    # Units that must run, and health checks (shell tests) by unit.
    units: list[str]
    health: dict[str, str]
    disk_percent: int
    errors_percent: int
    memory_percent: int
    logins: bool
    # Address, port and administrator of MongoDB on this host; empty for none.
    mongodb: list[Any]
    slow_per_minute: int
    # The files of the certificates by which other servers know this one, by whose they are.
    server_certificates: dict[str, str] = {}  # noqa: RUF012 (a tuple never changes it)
    # Folders whose file systems are watched, beside those that every host has.
    folders: list[str] = []  # noqa: RUF012


class Host:
    """The checks' access to the host. Tests replace it."""

    def now(self) -> float:
        return time.time()

    def uptime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, path: str) -> str:
        """The text of a file, "" if there is none."""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def read_from(self, path: str, begin: int, inode: int, limit: int = 4 * 2**20) -> tuple[str, int, int]:
        """The text of a log from the byte `begin` on, its size and its inode. A rotated log is read from its beginning;
        of more than `limit` bytes only the last."""
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != inode or status.st_size < begin:
                    begin = 0
                file.seek(max(begin, status.st_size - limit))
                return file.read().decode(errors="replace"), status.st_size, status.st_ino
        except OSError:
            return "", 0, 0

    def mtime(self, path: str) -> float:
        """A file's modification time, 0 if there is none."""
        try:
            return os.stat(path).st_mtime
        except OSError:
            return 0

    def run(self, *command: str, seconds: float = 20) -> tuple[int, str]:
        """The exit code and the output of a command; 124 after a timeout, as timeout(1)."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return 124, ""
        except OSError:
            return 127, ""
        return done.returncode, done.stdout

    def usage(self, path: str, seconds: float = 5) -> tuple[int, float, float]:
        """The device of a file system, and the use of its space and inodes in percent, as df(1). Raises OSError,
        TimeoutError for a network file system whose server is away: a call to it does not return."""
        answers: list[Any] = []

        def ask() -> None:
            try:
                answers.append((os.stat(path).st_dev, os.statvfs(path)))
            except OSError as error:
                answers.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(seconds)
        if not answers:
            raise TimeoutError(f"{path} did not answer")
        if isinstance(answers[0], OSError):
            raise answers[0]
        device, found = answers[0]
        blocks = found.f_blocks - found.f_bfree + found.f_bavail
        space = 100 * (found.f_blocks - found.f_bfree) / blocks if blocks else 0
        inodes = 100 * (found.f_files - found.f_ffree) / found.f_files if found.f_files else 0
        return device, space, inodes

    def get(self, domain: str, path: str, seconds: float = 10) -> int:
        """The status of a request to this host's Nginx. Raises OSError. The certificate is not verified here:
        checks.certificates checks its end, and that it is the one that is served."""
        import http.client

        connection = http.client.HTTPSConnection("127.0.0.1", 443, timeout=seconds)
        try:
            connection.sock = _tls(domain, seconds)
            connection.request("GET", path, headers={"Host": domain, "User-Agent": "slipway-alarms"})
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {type(error).__name__}") from None
        finally:
            connection.close()

    def served(self, domain: str, seconds: float = 10) -> bytes:
        """The certificate that this host's Nginx serves, in DER. Raises OSError."""
        with _tls(domain, seconds) as connection:
            return connection.getpeercert(binary_form=True) or b""

    def oplog(self, address: str, port: int, user: str, password: str) -> tuple[float, float, float]:
        """The times of the first and the last entry of MongoDB's oplog, and the used part of its size. Raises
        OSError."""
        from slipway.facts.mongodb_protocol import Connection

        connection = Connection(address, port, 20)
        try:
            if not connection.logs_in(user, password):
                raise OSError("MongoDB rejects the password")
            ends = []
            for order in (1, -1):
                command = {"find": "oplog.rs", "sort": {"$natural": order}, "limit": 1, "projection": {"ts": 1}}
                # A timestamp has its seconds in the upper half.
                ends.append(connection.run(command, "local")["cursor"]["firstBatch"][0]["ts"] >> 32)
            its = connection.run({"collStats": "oplog.rs"}, "local")
            return ends[0], ends[1], its["size"] / its["maxSize"]
        except (KeyError, IndexError) as error:
            raise OSError(f"MongoDB has no oplog: {error}") from None

    def members(self, address: str, port: int, user: str, password: str) -> dict[str, str]:
        """What MongoDB on this host calls each member of its replica set: PRIMARY, RECOVERING; and which secondary is
        behind. Raises OSError."""
        from slipway.facts.mongodb_protocol import Connection

        connection = Connection(address, port, 20)
        if not connection.logs_in(user, password):
            raise OSError("MongoDB rejects the password")
        found = connection.run({"replSetGetStatus": 1})
        if "members" not in found:
            raise OSError(f"MongoDB has no replica set: {found.get('errmsg')}")
        configured = connection.run({"replSetGetConfig": 1}).get("config", {}).get("members", [])
        delays = {one["host"]: one.get("secondaryDelaySecs", one.get("slaveDelay", 0)) for one in configured}
        return states(found["members"], delays)


def states(members: list[dict[str, Any]], delays: dict[str, int]) -> dict[str, str]:
    """The states of a set's members; of a secondary also whether it is behind the newest write by more than a limit,
    and the delay that it is configured with. https://www.mongodb.com/docs/manual/reference/command/replSetGetStatus/"""
    found = {one["name"]: one["stateStr"] for one in members}
    # In milliseconds; an arbiter has none.
    reached = {one["name"]: one["optimeDate"] // 1000 for one in members if "optimeDate" in one}
    for name, seconds in reached.items():
        if found[name] == "SECONDARY" and max(reached.values()) - seconds > LAG_SECONDS + delays.get(name, 0):
            found[name] = f"SECONDARY, more than {LAG_SECONDS} s behind,"
    return found


def _tls(domain: str, seconds: float) -> Any:
    """A connection to this host's Nginx. Raises OSError."""
    import socket
    import ssl

    context = ssl._create_unverified_context()  # noqa: S323
    connection = socket.create_connection(("127.0.0.1", 443), timeout=seconds)
    try:
        return context.wrap_socket(connection, server_hostname=domain)
    except OSError:
        connection.close()
        raise


def load(folder: str) -> Facts:
    with open(f"{folder}/alarms.json", encoding="utf-8") as file:
        found = json.load(file)
    return Facts(**{**found, "sites": [Site(*one) for one in found["sites"]]})


def secret(facts: Facts, name: str) -> str:
    """A secret. Raises OSError."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY") or facts.credentials
    with open(f"{folder}/{name}", encoding="utf-8") as file:
        return file.read().strip()
