"""What a step of a release (program.py) knows of a site, and how it asks and changes the host.

Installed on the host beside the program. Standard library only, Python 3.11 or later; what few steps need is imported
where it is needed, as each step is a process of its own: http.client alone takes longer to load than all the rest.
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
from contextlib import suppress
from typing import Any, NamedTuple

# HTTP statuses: a limit of requests that is reached (RFC 6585), a service that is not ready yet.
TOO_MANY, UNAVAILABLE = 429, 503
MAX_ANSWER_BYTES = 2**20
# Of a unit that failed: journal entries that are read.
LOG_ENTRIES = 80
UNITS = "/etc/systemd/system"
# The target of the link "next" where it is for no release, but for a restart.
COVERS = "current"


class Service(NamedTuple):
    """A service that answers requests. Its units are SITE-NAME, and for the next release SITE-NAME-next."""

    name: str
    # Where it listens: a Unix socket's path, or ADDRESS:PORT.
    listen: str
    next_socket: str
    # The symbolic link by which Nginx finds one of the two sockets; "" with TCP, where Nginx has one address.
    link: str
    health_path: str
    # 0 for any below 500.
    health_status: int
    # What must be in the answer, "" for anything.
    health_body: str
    health_seconds: int
    # The settings of that path and that time, for the error.
    health_setting: str
    seconds_setting: str
    # The name that visitors ask it by.
    host_name: str


class Facts(NamedTuple):
    """What the program knows of a site. Times are in seconds."""

    site: str
    root: str
    lock: str
    # Of each unit, by its name, the files that its new ones have replaced (slipway/operations.py: KEPT).
    backups: str
    services: list[Service]
    # Names of the services that run without answering requests.
    workers: list[str]
    # Of the site's pages: whether there are any, their policy, the URL path of hashed files, the host name, and Nginx's
    # locations that a service answers.
    has_pages: bool
    csp: str
    assets: str
    domain: str
    locations: list[str]
    keep_releases: int
    drain_seconds: int
    worker_seconds: int
    hook_seconds: int
    # The limits of one answer of a health path, and of the wait for another step of the site.
    probe_seconds: int
    lock_seconds: int
    # Between two looks at what is waited for.
    poll_seconds: float
    # What to do where a limit is too short.
    hint: str


class Answer(NamedTuple):
    status: int
    body: str
    # Seconds until it is worth while to ask again, 0 where it does not say.
    retry_after: int = 0
    # Where a redirect leads.
    location: str = ""

    def __str__(self) -> str:
        leads = f", a redirect to {self.location}" if self.location else ""
        return f"{self.body} {self.status}{leads}".strip() if self.status else "nothing"


NO_ANSWER = Answer(0, "")


class Failed(Exception):
    """What a user is told; of a unit also the end of its log."""

    def __init__(self, message: str, unit: str = "") -> None:
        super().__init__(message)
        self.unit = unit


class Deadline(socket.socket):
    """A socket whose reads all end by one time: a timeout of the socket itself begins anew with each byte."""

    end: float

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(max(self.end - time.monotonic(), 0.001))
        return super().recv_into(buffer, nbytes, flags)


def visitors_headers(host_name: str) -> dict[str, str]:
    """What Nginx tells a service of a visitor (templates/nginx/backend), here of one on this host, by https."""
    here = "127.0.0.1"
    return {
        "Host": host_name,
        "X-Real-IP": here,
        "X-Forwarded-For": here,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": host_name,
    }


def ask(listen: str, path: str, host_name: str, seconds: float) -> Answer:
    """What a service that listens on a Unix socket or ADDRESS:PORT answers a visitor within `seconds`, as far as it
    came."""
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
            # As a date it is no help: a clock would have to be right.
            seconds_left = int(retry_after) if retry_after.isdecimal() else 0
            answer = Answer(response.status, "", seconds_left, response.getheader("Location", ""))
            while len(body) < MAX_ANSWER_BYTES and (part := response.read1(2**16)):
                body += part
    return answer._replace(body=body.decode(errors="replace"))


def load(site: str, folder: str) -> Facts:
    """What Slipway has written down of a site, beside this program."""
    file = f"{folder}/release-{site}.json"
    try:
        with open(file, encoding="utf-8") as opened:
            facts = json.load(opened)
    except FileNotFoundError:
        raise Failed(f"{file} does not exist; `slipway apply` installs it") from None
    return Facts(**{**facts, "services": [Service(**service) for service in facts["services"]]})


class System:
    """The host. What changes something succeeds, raises OSError, or returns False where a unit did not come up."""

    def readlink(self, path: str) -> str:
        """The target of a symbolic link, "" where there is none."""
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
        """What is in a folder, sorted, without what is hidden."""
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> str:
        """The text of a file, "" where there is none."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def write(self, path: str, text: str) -> None:
        """Put a text at a path, in one step and on the disk."""
        with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
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
        """Remove a file, or a folder with all that is in it."""
        if os.path.isdir(path) and not os.path.islink(path):
            import shutil

            shutil.rmtree(path)
        else:
            self.unlink(path)

    def sync(self, folder: str) -> None:
        """Write a folder's names and links to the disk."""
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def run(self, *words: str, errors: int | None = subprocess.DEVNULL) -> tuple[bool, str]:
        """Whether a command has succeeded, and its output.

        It inherits the lock: another step waits for a restart that is under way, even where this program was killed.
        """
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, close_fds=False, check=False
        )
        return done.returncode == 0, done.stdout.decode(errors="replace")

    def systemctl(self, verb: str, *units: str) -> bool:
        # What it says of a start that failed is worth reading; that there is nothing to stop or reset is not.
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
        """What a service that listens there answers when it is asked for its health."""
        return ask(listen, service.health_path, service.host_name, seconds)

    def page_problems(self, build: str, facts: Facts) -> list[str]:
        """Why visitors would not see the pages of a build."""
        from slipway.releases.pages import problems

        return problems(build, facts.csp, facts.assets, facts.domain, facts.locations)

    def page_hints(self, build: str, facts: Facts) -> list[str]:
        """What the pages of a build load from elsewhere and their policy blocks."""
        from slipway.releases.pages import hints

        return hints(build, facts.csp, facts.domain)

    def script_sources(self, builds: list[str], facts: Facts) -> str:
        """What allows the scripts in the pages of builds, as Nginx reads it."""
        from slipway.releases.pages import nginx_map

        return nginx_map(facts.csp, builds)

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def print(self, text: str) -> None:
        print(text, flush=True)

    def tell(self, text: str) -> None:
        # Where the connection is broken nobody reads it, and the step still goes on to its end.
        with suppress(OSError):
            os.write(2, f"{text}\n".encode(errors="surrogateescape"))


class Site:
    """The units and files of a site, and how they are led to."""

    def __init__(self, facts: Facts, system: System) -> None:
        self.facts, self.system = facts, system
        self.current, self.previous, self.next = (f"{facts.root}/{name}" for name in ("current", "previous", "next"))

    def unit(self, name: str) -> str:
        return f"{self.facts.site}-{name}.service"

    def next_units(self, service: Service) -> tuple[str, str]:
        """The unit of the next release, and its socket's."""
        return f"{self.facts.site}-{service.name}-next.service", f"{self.facts.site}-{service.name}-next.socket"

    def all_names(self) -> list[str]:
        return [*(service.name for service in self.facts.services), *self.facts.workers]

    def can_start_next(self, service: Service) -> bool:
        """Whether there are next units: a first apply that was cut off has not come to them."""
        return all(self.system.exists(f"{UNITS}/{unit}") for unit in self.next_units(service))

    def next_runs(self, service: Service) -> bool:
        return self.system.is_active(self.next_units(service)[0])

    def next_run(self) -> bool:
        return all(self.next_runs(service) for service in self.facts.services)

    def service(self, name: str) -> Service:
        return next(service for service in self.facts.services if service.name == name)

    def covers(self, service: Service) -> bool:
        """Whether the next units serve the live release while a service restarts."""
        return self.system.readlink(self.next) == COVERS and self.next_runs(service)

    def next_serves(self) -> bool:
        """Whether Nginx may be led to the next units."""
        return self.next_is_live() or any(map(self.covers, self.facts.services))

    def next_is_live(self) -> bool:
        """Whether a release was interrupted after it was activated: the next units serve it."""
        return self.next_run() and self.system.readlink(self.next) == self.system.readlink(self.current)

    def reload_units(self) -> None:
        if not self.system.systemctl("daemon-reload"):
            raise Failed("systemctl daemon-reload failed; nothing was started")

    def lead(self, link: str, target: str) -> None:
        """Point a symbolic link to a target, in one step."""
        if self.system.readlink(link) != target:
            self.system.unlink(f"{link}.new")
            self.system.symlink(target, f"{link}.new")
            self.system.rename(f"{link}.new", link)

    def restore(self, backup: str) -> None:
        """Put back the files that a unit's new ones have replaced."""
        # A line without its end was being written: what it would name was not replaced.
        paths = self.system.read(f"{backup}/paths").split("\n")[:-1]
        for path in paths:
            if self.system.exists(f"{backup}{path}"):
                self.system.unlink(f"{path}.slipway-old")
                self.system.copy(f"{backup}{path}", f"{path}.slipway-old")
                self.system.rename(f"{path}.slipway-old", path)
            else:
                # There was none.
                self.system.unlink(path)
        if paths:
            self.forget(backup)

    def forget(self, backup: str) -> None:
        # First the list: a path in it without a copy stands for a file that was not there.
        self.system.unlink(f"{backup}/paths")
        self.system.remove(backup)


def is_right(answer: Answer, service: Service) -> bool:
    is_wanted = answer.status == service.health_status if service.health_status else 0 < answer.status < 500
    return is_wanted and service.health_body in answer.body
