"""The checks of a release (program.py) before its activation: the health of its services, and its pages.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

from slipway.releases.host import TOO_MANY, UNAVAILABLE, Answer, Failed, Service, Site, System, is_right

# Healthy answers required in a row: each worker of a service becomes healthy at its own time.
RIGHT_ANSWERS = 5
# The first requests are sent every poll_seconds, further ones less often.
QUICK_REQUESTS, CALM_SECONDS = 5, 1.0
# Characters of an unhealthy answer that are shown.
MAX_SHOWN = 200
# Of a unit that failed, the lines of its journal that are shown.
LOG_LINES = 20
# After so many ends a service is crash-looping: a release has another one that serves; in an apply its database may
# need a moment.
RESTARTS_OF_RELEASE, RESTARTS_OF_APPLY = 1, 3
# uvicorn starts its workers again without end, one before 0.30 never.
MAX_WORKERS_ENDED, LOOKS_WITHOUT_WORKERS = 4, 3
NGINX = "nginx.service"
# In a release's folder.
RECORD = ".release.json"


class Ends:
    """How often what a unit runs has ended since the unit was started: its main process, or uvicorn's workers, of which
    systemd knows nothing."""

    def __init__(self, system: System, unit: str, restarts: int) -> None:
        self.system, self.unit, self.restarts = system, unit, restarts
        self.main, self.workers, self.looks = "", set[str](), 0

    def are_too_many(self) -> bool:
        """Whether it is useless to wait any longer; to be asked again and again."""
        state = self.system.properties(self.unit, "NRestarts", "MainPID")
        if int(state.get("NRestarts", "0")) >= self.restarts:
            return True
        if state.get("MainPID", "0") != self.main:
            self.main, self.workers, self.looks = state.get("MainPID", "0"), set(), 0
        now = self.system.workers(self.main)
        self.workers |= now
        ended = len(self.workers - now)
        self.looks = self.looks + 1 if ended and not now else 0
        return ended >= MAX_WORKERS_ENDED or self.looks >= LOOKS_WITHOUT_WORKERS


class Checks(Site):
    """Checks of the services and the pages of a site."""

    # --- Health

    def is_healthy(self, service: Service) -> bool:
        answer = self.system.answer(service, service.listen, self.facts.probe_seconds)
        return is_right(answer, service) or answer.status == TOO_MANY

    def wait_until_healthy(self, service: Service, is_next: bool) -> None:
        """Wait until a unit that was just started passes its health check several times in a row, one request at a
        time. Once it has passed, a rate limit (429) counts as healthy too."""
        unit = self.next_units(service)[0] if is_next else self.unit(service.name)
        listen = service.next_socket if is_next else service.listen
        end, right, asked = self.system.now() + service.health_seconds, 0, 0
        ends = Ends(self.system, unit, RESTARTS_OF_RELEASE)
        while right < RIGHT_ANSWERS:
            # Short at first: a service that has ended lets everybody wait at its socket.
            answer = self.system.answer(service, listen, min(2**asked, self.facts.probe_seconds))
            asked += 1
            pause = self.facts.poll_seconds if asked < QUICK_REQUESTS else CALM_SECONDS
            if is_right(answer, service) or (right and answer.status == TOO_MANY):
                right += 1
            else:
                right = 0
                if ends.are_too_many():
                    raise Failed("exited unexpectedly", unit)
                left = end - self.system.now()
                if left <= 0:
                    raise Failed(unhealthy(answer, service), unit)
                if answer.status in (TOO_MANY, UNAVAILABLE):
                    pause = max(pause, min(answer.retry_after, left))
            self.system.sleep(pause)

    def watch(self, name: str, waiting: str) -> bool:
        """While a process waits for a service to become healthy: end its process group once that is useless, and say
        why."""
        ends = Ends(self.system, self.unit(name), RESTARTS_OF_APPLY)
        while not ends.are_too_many():
            self.system.sleep(CALM_SECONDS)
            if not self.system.exists(f"/proc/{waiting}"):
                return True
        self.explain(Failed("is crash-looping", self.unit(name)))
        self.system.end_group_of(int(waiting))
        return False

    # --- Pages

    def build(self, release: str) -> str:
        return f"{self.facts.root}/releases/{release}/frontend/build"

    def script_file(self) -> str:
        """The file that templates/nginx/site includes."""
        return f"{self.facts.root}/csp.conf"

    def script_sources(self) -> str:
        """The lines that allow the inline scripts of all releases; if these are too many, of those that `prune` keeps.
        Raises Failed if these are too many, too."""
        releases = self.complete_releases() if self.facts.has_pages else []
        try:
            return self.system.script_sources([*map(self.build, releases)], self.facts)
        except ValueError:
            kept = [release for release in releases if release not in self.obsolete_releases()]
        try:
            return self.system.script_sources([*map(self.build, kept)], self.facts)
        except ValueError as error:
            raise Failed(str(error)) from None

    def hints(self, release: str) -> bool:
        for hint in self.system.page_hints(self.build(release), self.facts):
            self.system.print(hint)
        return True

    def allow_scripts(self) -> bool:
        """Allow the inline scripts of all releases, also of those to roll back to, before the activation."""
        before = self.system.read(self.script_file())

        def reload() -> None:
            if self.system.is_active(NGINX) and not self.system.systemctl("reload", NGINX):
                # With what it can't read, Nginx would not start again after its next stop.
                self.system.write(self.script_file(), before)
                raise Failed("failed to reload", NGINX)

        self.record_scripts(reload)
        return True

    def record_scripts(self, reload: Callable[[], None] = lambda: None) -> None:
        """Write the inline scripts of all releases to the file that Nginx reads, and reload it if it may have read
        others.

        What Nginx has read, below the policy that it is for, is kept beside that file with the time of the reading:
        while no page is newer, a plan compares the two and reads no page (tasks/release_steps.py). After a failed or
        interrupted reload it is not what is in the file.
        """
        file, checked = self.script_file(), f"{self.facts.root}/csp.checked"

        def read() -> str:
            sources = self.script_sources()
            known = f"{self.facts.csp}\n{sources}"
            if self.system.read(file) != sources:
                self.system.write(file, sources)
                reload()
            elif self.system.read(checked) != known:
                reload()
            return known

        self.system.write(checked, read)

    def scripts_allowed(self) -> bool:
        return self.system.read(self.script_file()) == self.script_sources()

    # --- Releases and errors

    def complete_releases(self) -> list[str]:
        """IDs of the releases, oldest first, without interrupted uploads (.new) and other entries (lost+found)."""
        releases = f"{self.facts.root}/releases"
        return [
            name
            for name in self.system.names(releases)
            if re.fullmatch(r"[A-Za-z0-9._-]+", name) and not name.endswith(".new")
            if any(self.system.exists(f"{releases}/{name}/{part}") for part in ("backend", "frontend"))
        ]

    def has(self, link: str, name: str) -> bool:
        """Whether the release that a link leads to has a service, which a later one may have added. Of releases that
        earlier versions made this is not known: they count as having all."""
        try:
            record = json.loads(self.system.read(f"{self.facts.root}/{self.system.readlink(link)}/{RECORD}"))
        except ValueError:
            return True
        services = record.get("services") if isinstance(record, dict) else None
        return not isinstance(services, list) or name in services

    def services_of(self, link: str) -> list[Service]:
        return [service for service in self.facts.services if self.has(link, service.name)]

    def next_run(self) -> bool:
        return all(map(self.next_runs, self.services_of(self.next)))

    def next_serves(self) -> bool:
        """Whether Nginx may be using the next units."""
        return self.next_is_live() or any(map(self.covers, self.facts.services))

    def next_is_live(self) -> bool:
        """Whether a release was interrupted after it was activated: the next units serve it."""
        return self.next_run() and self.system.readlink(self.next) == self.system.readlink(self.current)

    def is_rollback(self) -> bool:
        """Whether the current release is older than the one before it: their names sort by time."""
        return self.system.readlink(self.current) < self.system.readlink(self.previous)

    def obsolete_releases(self) -> list[str]:
        """The oldest releases, never the current or the previous one."""
        needed = {self.system.readlink(self.current), self.system.readlink(self.previous)}
        oldest = self.complete_releases()[: -self.facts.keep_releases]
        return [release for release in oldest if f"releases/{release}" not in needed]

    def explain(self, failure: Failed) -> None:
        if failure.unit:
            lines = self.system.log(failure.unit).splitlines()
            error = last_error(lines)
            text = "\n".join([*lines[-LOG_LINES:], f"{failure.unit}: {failure}{f': {error}' if error else ''}"])
            self.system.tell("\n".join(filter(None, [text, fix(error, lines)])))
        else:
            self.system.tell(str(failure))


def unhealthy(answer: Answer, service: Service) -> str:
    """Why a service is unhealthy, and what to do."""
    shown = str(answer)[:MAX_SHOWN]
    why = f"not healthy after {service.health_seconds} s; {service.health_path} answered: {shown}"
    if answer.status == 404:
        return f'{why}; set {service.health_setting} to an existing path, or to "" to accept any answer below 500'
    if answer.status == TOO_MANY:
        return f"{why}; exempt {service.health_path} from its rate limit"
    if answer.status and not service.health_status:
        return why
    return f"{why}; on a slow host raise {service.seconds_setting}"


def last_error(lines: list[str]) -> str:
    """The exception that the last traceback in a log ends with, or what uvicorn says instead of one; "" for none."""
    found, is_inside = "", False
    for line in lines:
        if "Traceback (most recent call last):" in line:
            is_inside = True
        elif line.startswith("ERROR:    Error loading ASGI app"):
            found = line.removeprefix("ERROR:").strip()
        # Its calls are indented.
        elif is_inside and re.match(r"[A-Za-z_][\w.]*(: |$)", line):
            found, is_inside = line[:MAX_SHOWN], False
    return found


# What an exception says, and what to do.
FIXES = (
    (
        r"cannot open shared object file|(?i:failed to find lib|no library called|could not find .*\blib)",
        "a system library is missing: name its Debian package in extra_packages, and run slipway apply",
    ),
    (
        r"No module named|Could not import module|Could not load",
        "add the package to the dependencies (slipway lock), and run slipway release; if it is the application's own,"
        " correct backend_source or backend_app",
    ),
    (
        r"Read-only file system|Permission denied: '[^/]",
        "name the folder that the application writes to in shared_paths, and run slipway apply",
    ),
    (
        r"ServerSelectionTimeoutError|OperationFailure.*[Aa]uthentication|command \w+ requires authentication",
        'the application does not reach its database: give it "{mongo_url}" in backend_environment',
    ),
)
VARIABLES = "set {} in backend_environment, or in backend_secrets if it is a secret, and run this again"


def fix(error: str, lines: list[str]) -> str:
    """What to do about an exception at the start of an application; "" where that is not known."""
    if missing := _missing_variables(error, lines):
        return VARIABLES.format(", ".join(missing))
    return next((advice for pattern, advice in FIXES if re.search(pattern, error)), "")


def _missing_variables(error: str, lines: list[str]) -> list[str]:
    """The environment variables that an exception is about: one of os.environ, or fields of pydantic's settings."""
    if named := re.fullmatch(r"KeyError: ['\"]([A-Z][A-Z0-9_]+)['\"]", error):
        return [named[1]]
    if not re.search(r"ValidationError: \d+ validation errors? for \w*(Settings|Config|Env)", error):
        return []
    # What is wrong with a field is on the line below it, indented. A prefix of the variables is not told.
    pairs = itertools.pairwise(lines)
    fields = [field for field, wrong in pairs if re.match(r"\s+[Ff]ield required", wrong)]
    return [f"the variable of {field}" for field in dict.fromkeys(fields)]
