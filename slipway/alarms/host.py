"""What the alarms' program knows of its host, and how it asks it.

Installed on the host beside the program. Standard library only, Python 3.11 or later.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any, NamedTuple

STATE = "/var/lib/slipway/alarms"


class Site(NamedTuple):
    domain: str
    # A path that the backend answers, "" for none, and the folder of the certificate.
    health: str
    certificate: str
    # While this file is there, the site answers 503 because it was told to.
    maintenance: str


class Facts(NamedTuple):
    """What the program knows."""

    host: str
    # Where secrets are, a file each; systemd hands them to the unit elsewhere.
    credentials: str
    mail_to: list[str]
    mail_from: str
    smtp: str
    smtp_security: str
    smtp_user: str
    # Kinds by their names.
    webhooks: dict[str, str]
    heartbeat: bool
    sites: list[Site]
    # That must run; and shell tests by unit, which must succeed.
    units: list[str]
    health: dict[str, str]
    disk_percent: int
    errors_percent: int
    memory_percent: int
    logins: bool


class Host:
    """The host, as the checks ask it. Tests have another one."""

    def now(self) -> float:
        return time.time()

    def read(self, path: str) -> str:
        """The text of a file, "" where there is none."""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def read_from(self, path: str, begin: int, inode: int, limit: int = 4 * 2**20) -> tuple[str, int, int]:
        """What a log got since it was read up to a byte, then where it ends and its inode. A rotated one begins anew;
        of more than `limit` bytes the last."""
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
        """When a file changed, 0 where there is none."""
        try:
            return os.stat(path).st_mtime
        except OSError:
            return 0

    def run(self, *command: str, seconds: float = 20) -> tuple[int, str]:
        """The exit code and the output of a command; 124 for one that takes too long, as timeout(1) has it."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return 124, ""
        except OSError:
            return 127, ""
        return done.returncode, done.stdout

    def usage(self, path: str) -> tuple[int, float, float]:
        """The device of a file system, and what is used of its space and of its inodes, in percent, as df(1) has it."""
        found = os.statvfs(path)
        blocks = found.f_blocks - found.f_bfree + found.f_bavail
        space = 100 * (found.f_blocks - found.f_bfree) / blocks if blocks else 0
        inodes = 100 * (found.f_files - found.f_ffree) / found.f_files if found.f_files else 0
        return os.stat(path).st_dev, space, inodes

    def get(self, domain: str, path: str, seconds: float = 10) -> int:
        """The status of a site's answer, as Nginx gives it on this host. Raises OSError. Who signed the certificate is
        not looked at: its end is, elsewhere."""
        import http.client
        import ssl

        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection("127.0.0.1", 443, timeout=seconds, context=context)
        try:
            connection.sock = context.wrap_socket(_connected(seconds), server_hostname=domain)
            connection.request("GET", path, headers={"Host": domain, "User-Agent": "slipway-alarms"})
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {type(error).__name__}") from None
        finally:
            connection.close()


def _connected(seconds: float) -> Any:
    import socket

    return socket.create_connection(("127.0.0.1", 443), timeout=seconds)


def load(folder: str) -> Facts:
    with open(f"{folder}/alarms.json", encoding="utf-8") as file:
        found = json.load(file)
    return Facts(**{**found, "sites": [Site(*one) for one in found["sites"]]})


def secret(facts: Facts, name: str) -> str:
    """A secret. Raises OSError."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY") or facts.credentials
    with open(f"{folder}/{name}", encoding="utf-8") as file:
        return file.read().strip()


def write(path: str, text: str) -> None:
    """A file of root's alone that appears whole."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
