"""The configuration of the release program (program.py) for a site, and its access to the host.

Installed on the host next to the program. Standard library only, Python 3.10 or later. Modules that few steps need are
imported where they are used, as each step is a separate process: http.client takes longer to load than all the rest.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

# HTTP statuses: rate limit exceeded (RFC 6585), service not ready yet.
TOO_MANY, UNAVAILABLE = 429, 503
MAX_ANSWER_BYTES = 2**20
# Journal entries of a failed unit to read.
LOG_ENTRIES = 80
UNITS = "/etc/systemd/system"
# The target of the link "next" during a restart instead of a release.
COVERS = "current"


class Service(NamedTuple):
    """A service that answers requests. Its units are SITE-NAME, and for the next release SITE-NAME-next."""

    name: str
    # The Unix socket's path, or ADDRESS:PORT.
    listen: str
    next_socket: str
    # The symbolic link that Nginx uses, to one of the two sockets; "" with TCP.
    link: str
    health_path: str
    # 0 for any below 500.
    health_status: int
    # A text that the answer must contain, "" for any.
    health_body: str
    health_seconds: int
    # The names of the settings of path and time, for errors.
    health_setting: str
    seconds_setting: str
    # The host name that visitors use.
    host_name: str


class Facts(NamedTuple):
    """The program's configuration for a site. Times are in seconds."""

    site: str
    root: str
    lock: str
    # The folder of replaced files by unit (slipway/ops/backup.py: KEPT).
    backups: str
    services: list[Service]
    # Names of the workers, which answer no requests.
    workers: list[str]
    # The site's pages: whether there are any, their policy, the URL path of hashed files, the host name, and the Nginx
    # locations of services.
    has_pages: bool
    csp: str
    assets: str
    domain: str
    locations: list[str]
    keep_releases: int
    drain_seconds: int
    worker_seconds: int
    hook_seconds: int
    # The time limits of a health request, and of waiting for another step of the site.
    probe_seconds: int
    lock_seconds: int
    # The polling interval.
    poll_seconds: float
    # What to do if a time limit is too short.
    hint: str


class Answer(NamedTuple):
    status: int
    body: str
    # Retry-After in seconds, 0 if there is none.
    retry_after: int = 0
    # The target of a redirect.
    location: str = ""

    def __str__(self) -> str:
        leads = f", a redirect to {self.location}" if self.location else ""
        return f"{self.body} {self.status}{leads}".strip() if self.status else "nothing"


NO_ANSWER = Answer(0, "")


class Failed(Exception):
    """An error that the user sees; with a unit, also the end of its log."""

    def __init__(self, message: str, unit: str = "") -> None:
        super().__init__(message)
        self.unit = unit


class Deadline(socket.socket):
    """A socket with one deadline for all reads: a socket's own timeout restarts with each byte."""

    end: float

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(max(self.end - time.monotonic(), 0.001))
        return super().recv_into(buffer, nbytes, flags)


def visitors_headers(host_name: str) -> dict[str, str]:
    """The headers that Nginx sends to a service (templates/nginx/backend), for a local visitor by https."""
    here = "127.0.0.1"
    return {
        "Host": host_name,
        "X-Real-IP": here,
        "X-Forwarded-For": here,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": host_name,
        # As Nginx's $request_id: 32 hexadecimal digits.
        "X-Request-ID": os.urandom(16).hex(),
    }


def ask(listen: str, path: str, host_name: str, seconds: float) -> Answer:
    """The answer of a service on a Unix socket or ADDRESS:PORT to a visitor's request, as far as it arrived within
    `seconds`."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import quote

    is_unix = listen.startswith("/")
    address, _, port = listen.rpartition(":")
    answer, body = NO_ANSWER, b""
    with Deadline(socket.AF_UNIX if is_unix else socket.AF_INET) as connected:
        connected.end = time.monotonic() + seconds
        connected.settimeout(seconds)
        connection = HTTPConnection("localhost" if is_unix else listen)
        connection.sock = connected
        headers = {**visitors_headers(host_name), "Accept": "*/*", "User-Agent": "slipway"}
        with suppress(OSError, HTTPException):
            connected.connect(listen if is_unix else (address, int(port)))
            connection.request("GET", quote(path), headers=headers)
            response = connection.getresponse()
            retry_after = response.getheader("Retry-After", "")
            # A date is ignored, as it depends on correct clocks.
            seconds_left = int(retry_after) if retry_after.isdecimal() else 0
            answer = Answer(response.status, "", seconds_left, response.getheader("Location", ""))
            while len(body) < MAX_ANSWER_BYTES and (part := response.read1(2**16)):
                body += part
    return answer._replace(body=body.decode(errors="replace"))


def load(site: str, folder: str) -> Facts:
    """The configuration of a site, in the program's folder."""
    file = f"{folder}/release-{site}.json"
    try:
        with open(file, encoding="utf-8") as opened:
            facts = json.load(opened)
    except FileNotFoundError:
        raise Failed(f"{file} does not exist; `slipway apply` installs it") from None
    return Facts(**{**facts, "services": [Service(**service) for service in facts["services"]]})


class System:
    """The host. Changes succeed, raise OSError, or return False if a unit failed to start."""

    def readlink(self, path: str) -> str:
        """The target of a symbolic link, "" if there is none."""
        try:
            return os.readlink(path)
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def is_socket(self, path: str) -> bool:
        try:
            return stat.S_ISSOCK(os.stat(path).st_mode)
        except OSError:
            return False

    def names(self, folder: str) -> list[str]:
        """The entries of a folder, sorted, without hidden ones."""
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> str:
        """The text of a file, "" if there is none."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def write(self, path: str, text: str | Callable[[], str]) -> None:
        """Write a file atomically, and sync it. If `text` reads it elsewhere, the file's time is that of the begin."""
        with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
            began = os.fstat(file.fileno()).st_mtime_ns
            file.write(text if isinstance(text, str) else text())
            file.flush()
            os.utime(file.fileno(), ns=(began, began))
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, path)

    def rename(self, path: str, new: str) -> None:
        os.replace(path, new)

    def copy(self, path: str, new: str) -> None:
        """Copy a file or a symbolic link with its times, mode and owner."""
        import shutil

        shutil.copy2(path, new, follow_symlinks=False)
        status = os.lstat(path)
        os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with its content."""
        if os.path.isdir(path) and not os.path.islink(path):
            import shutil

            shutil.rmtree(path)
        else:
            self.unlink(path)

    def sync(self, folder: str) -> None:
        """Sync a folder's entries to the disk."""
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def run(self, *words: str, errors: int | None = subprocess.DEVNULL) -> tuple[bool, str]:
        """Run a command. Returns whether it succeeded, and its output.

        It inherits the lock: another step waits for a restart in progress, even if this program was killed.
        """
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, close_fds=False, check=False
        )
        return done.returncode == 0, done.stdout.decode(errors="replace")

    def systemctl(self, verb: str, *units: str) -> bool:
        # Show the errors of failed starts only; those of stop and reset-failed are noise.
        is_start = verb in ("start", "restart", "daemon-reload")
        return self.run("systemctl", verb, *units, errors=None if is_start else subprocess.DEVNULL)[0]

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        _, lines = self.run("systemctl", "show", f"--property={','.join(names)}", unit)
        return dict(line.split("=", 1) for line in lines.splitlines() if "=" in line)

    def is_active(self, unit: str) -> bool:
        return self.run("systemctl", "is-active", "--quiet", unit)[0]

    def log(self, unit: str) -> str:
        return self.run("journalctl", "-u", unit, "-n", str(LOG_ENTRIES), "--no-pager", "-o", "cat")[1]

    def end_group_of(self, process: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(os.getpgid(process), signal.SIGTERM)

    def workers(self, main: str) -> set[str]:
        """The workers of a main process that is a uvicorn with several, all by their ids."""
        if not re.search(r"\0--workers\0(?!1\0)\d", self.read(f"/proc/{main}/cmdline")):
            return set()
        # Python's multiprocessing starts each as a program of its own.
        children = self.read(f"/proc/{main}/task/{main}/children").split()
        return {child for child in children if "spawn_main" in self.read(f"/proc/{child}/cmdline")}

    def answer(self, service: Service, listen: str, seconds: int) -> Answer:
        """A service's answer to its health check."""
        return ask(listen, service.health_path, service.host_name, seconds)

    def page_problems(self, build: str, facts: Facts) -> list[str]:
        """Why a build's pages would not work."""
        from slipway.releases.pages import problems

        return problems(build, facts.csp, facts.assets, facts.domain, facts.locations)

    def page_hints(self, build: str, facts: Facts) -> list[str]:
        """What a build's pages load from other origins and the policy blocks."""
        from slipway.releases.pages import hints

        return hints(build, facts.csp, facts.domain)

    def script_sources(self, builds: list[str], facts: Facts) -> str:
        """The lines of Nginx configuration that allow the inline scripts of builds."""
        from slipway.releases.pages import nginx_map

        return nginx_map(facts.csp, builds)

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def print(self, text: str) -> None:
        print(text, flush=True)

    def tell(self, text: str) -> None:
        # On a broken connection nobody reads it, and the step continues.
        with suppress(OSError):
            os.write(2, f"{text}\n".encode(errors="surrogateescape"))


class Site:
    """The units, files and links of a site."""

    def __init__(self, facts: Facts, system: System) -> None:
        self.facts, self.system = facts, system
        self.current, self.previous, self.next = (f"{facts.root}/{name}" for name in ("current", "previous", "next"))

    def unit(self, name: str) -> str:
        return f"{self.facts.site}-{name}.service"

    def next_units(self, service: Service) -> tuple[str, str]:
        """The service and socket units of the next release."""
        return f"{self.facts.site}-{service.name}-next.service", f"{self.facts.site}-{service.name}-next.socket"

    def all_names(self) -> list[str]:
        return [*(service.name for service in self.facts.services), *self.facts.workers]

    def can_start_next(self, service: Service) -> bool:
        """Whether the next units exist: an interrupted first apply may not have created them."""
        return all(self.system.exists(f"{UNITS}/{unit}") for unit in self.next_units(service))

    def next_runs(self, service: Service) -> bool:
        return self.system.is_active(self.next_units(service)[0])

    def service(self, name: str) -> Service:
        return next(service for service in self.facts.services if service.name == name)

    def covers(self, service: Service) -> bool:
        """Whether the next units serve the live release while a service restarts."""
        return self.system.readlink(self.next) == COVERS and self.next_runs(service)

    def reload_units(self) -> None:
        if not self.system.systemctl("daemon-reload"):
            raise Failed("systemctl daemon-reload failed; nothing was started")

    def lead(self, link: str, target: str) -> None:
        """Point a symbolic link to a target atomically."""
        if self.system.readlink(link) != target:
            self.system.unlink(f"{link}.new")
            self.system.symlink(target, f"{link}.new")
            self.system.rename(f"{link}.new", link)

    def lead_or_remove(self, link: str, target: str) -> None:
        if target:
            self.lead(link, target)
        else:
            self.system.unlink(link)

    def restore(self, backup: str) -> None:
        """Restore the files that a unit's new ones have replaced."""
        # Ignore an incomplete last line: its file was not replaced yet.
        paths = self.system.read(f"{backup}/paths").split("\n")[:-1]
        for path in paths:
            if self.system.exists(f"{backup}{path}"):
                self.system.unlink(f"{path}.slipway-old")
                self.system.copy(f"{backup}{path}", f"{path}.slipway-old")
                self.system.rename(f"{path}.slipway-old", path)
            else:
                # There was no file.
                self.system.unlink(path)
        if paths:
            self.forget(backup)

    def forget(self, backup: str) -> None:
        # The list first: a listed path without a copy would mean that there was no file.
        self.system.unlink(f"{backup}/paths")
        self.system.remove(backup)


def is_right(answer: Answer, service: Service) -> bool:
    is_wanted = answer.status == service.health_status if service.health_status else 0 < answer.status < 500
    return is_wanted and service.health_body in answer.body
