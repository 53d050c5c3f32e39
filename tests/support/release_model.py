"""A host in memory for the steps of a release: its files, units and visitors. The program can be killed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

from slipway.releases.host import COVERS, NO_ANSWER, UNITS, Answer, Facts, Failed, Service
from slipway.releases.program import STEPS, Steps
from slipway.settings.model import Settings
from slipway.tasks.release import PARTS
from slipway.tasks.release_steps import facts

WELL = Answer(200, '{"status":"ok"}')
SOCKET = "a socket"
# Before the target of a symbolic link.
LINK = "-> "


class Killed(BaseException):
    """The program was killed right before a change."""


@dataclass
class Model:
    """Replaces System of slipway/releases/host.py. Only sleeping advances the time, at least a second each time."""

    facts: Facts
    # By path: the content of a file, SOCKET, or LINK and a target. Folders exist implicitly.
    files: dict[str, str] = field(default_factory=dict)
    # The release that each running unit has loaded.
    active: dict[str, str] = field(default_factory=dict)
    # Units that do not start, and units that start and exit over and over; "RELEASE:UNIT" with one release alone.
    broken: set[str] = field(default_factory=set)
    crashing: set[str] = field(default_factory=set)
    # What a unit answers other than WELL, by UNIT or RELEASE:UNIT.
    says: dict[str, Answer] = field(default_factory=dict)
    # Why the pages of every release would be blank.
    pages_wrong: str = ""
    # Connections that stay open, by the path of their socket.
    connections: dict[str, int] = field(default_factory=dict)
    # Why a unit failed, where it was not its exit code.
    results: dict[str, str] = field(default_factory=dict)
    # The workers that uvicorn has at each look, the last of them from then on; and the last lines of any unit's log.
    spawned: list[set[str]] = field(default_factory=list)
    said: str = "its last words"
    # Processes whose groups were ended.
    ended: list[int] = field(default_factory=list)
    clock: int = 0
    slept: list[float] = field(default_factory=list)
    # The program is killed before this one of its changes.
    kill_at: int = 0
    changes: int = 0
    last_step: str = ""
    # What systemd was told, and the user.
    told: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def serving(cls, settings: Settings, *releases: str) -> Model:
        """A host with these releases, of which the first is live."""
        model = cls(facts(settings, PARTS))
        root = model.facts.root
        for release in releases:
            for part in ("backend/server.py", "frontend/index.html"):
                model.files[f"{root}/releases/{release}/{part}"] = release
            model.files[f"{root}/releases/{release}/backend/.venv"] = f"{LINK}{root}/venvs/of-{release}"
            model.files[f"{root}/venvs/of-{release}/python"] = ""
            model.files[f"{root}/venvs/of-{release}/.complete"] = ""
        model.files[f"{root}/current"] = f"{LINK}releases/{releases[0]}"
        for service in model.facts.services:
            if service.link:
                model.files |= {service.listen: SOCKET, service.link: f"{LINK}{service.listen}"}
            for kind in ("service", "socket"):
                model.files[f"{UNITS}/{model.facts.site}-{service.name}-next.{kind}"] = ""
        model.active = model.own_units(releases[0])
        return model

    def copy_of_all(self) -> Model:
        return deepcopy(self)

    def step(self, name: str, *words: str, kill_at: int = 0) -> bool:
        """Run a step as the program does; returns whether its exit code would be 0. Raises Killed."""
        self.kill_at, self.changes, self.last_step = kill_at, 0, name
        try:
            return STEPS[name](Steps(self.facts, self), *words)  # type: ignore[arg-type]
        except Failed as failure:
            self.tell(str(failure))
            return False

    # --- What a test looks at

    def own_units(self, release: str) -> dict[str, str]:
        names = [*(service.name for service in self.facts.services), *self.facts.workers]
        return {f"{self.facts.site}-{name}.service": release for name in names}

    def links(self) -> dict[str, str]:
        """The targets of the links in the site's folder."""
        names = ("current", "previous", "next", "current.new", "previous.new", "next.new")
        return {name: target for name in names if (target := self.readlink(f"{self.facts.root}/{name}"))}

    def served(self) -> dict[str, str]:
        """The release behind each service that Nginx proxies to, "" where none answers."""
        found = {}
        for service in self.facts.services:
            place = self.readlink(service.link) if service.link else service.listen
            if place:
                found[service.name] = self.active.get(self._unit_at(place), "")
        return found

    def releases(self) -> list[str]:
        return self.names(f"{self.facts.root}/releases")

    def error(self) -> str:
        return "\n".join(self.errors)

    def _unit_at(self, place: str) -> str:
        for service in self.facts.services:
            if place == service.listen:
                return self._unit(service)
            if place == service.next_socket and self.is_socket(place):
                return self._unit(service, "-next")
        return ""

    def _unit(self, service: Service, end: str = "") -> str:
        return f"{self.facts.site}-{service.name}{end}.service"

    # --- What System does

    def _change(self) -> None:
        self.changes += 1
        if self.changes == self.kill_at:
            raise Killed

    def _real(self, path: str) -> str:
        """A path with the links of the site's folder resolved."""
        for name, target in self.links().items():
            path = path.replace(f"{self.facts.root}/{name}/", f"{self.facts.root}/{target}/")
        return path

    def _below(self, folder: str) -> list[str]:
        return [path for path in self.files if path.startswith(f"{folder}/")]

    def readlink(self, path: str) -> str:
        found = self.files.get(path, "")
        return found.removeprefix(LINK) if found.startswith(LINK) else ""

    def exists(self, path: str) -> bool:
        path = self._real(path)
        return path in self.files or bool(self._below(path))

    def is_socket(self, path: str) -> bool:
        return self.files.get(path) == SOCKET

    def names(self, folder: str) -> list[str]:
        names = {path.removeprefix(f"{folder}/").partition("/")[0] for path in self._below(folder)}
        return sorted(name for name in names if not name.startswith("."))

    def read(self, path: str) -> str:
        if path == "/proc/net/unix":
            rows = [f"0: 00000003 0 0 0001 03 9 {path}\n" * count for path, count in self.connections.items()]
            # Of one that listens, and of one without a path.
            return "".join(rows) + f"0: 00000002 0 0 0001 01 8 {self.facts.services[0].listen}\n0: 2 0 0 0001 03 9\n"
        return self.files.get(path, "")

    def write(self, path: str, text: str | Callable[[], str]) -> None:
        text = text if isinstance(text, str) else text()
        self._change()
        self.files[path] = text

    def symlink(self, target: str, path: str) -> None:
        self._change()
        assert path not in self.files
        self.files[path] = f"{LINK}{target}"

    def rename(self, path: str, new: str) -> None:
        self._change()
        if path in self.files:
            self.files[new] = self.files.pop(path)
        else:
            assert not self._below(new)
            for old in self._below(path):
                self.files[new + old.removeprefix(path)] = self.files.pop(old)

    def copy(self, path: str, new: str) -> None:
        self._change()
        # It is not complete at once.
        self.files[new] = "half"
        self._change()
        self.files[new] = self.files[path]

    def unlink(self, path: str) -> None:
        if path in self.files:
            self._change()
            del self.files[path]

    def remove(self, path: str) -> None:
        for found in self._below(path) or [path]:
            self.unlink(found)

    def sync(self, folder: str) -> None:
        pass

    def systemctl(self, verb: str, *units: str) -> bool:
        self.told.append(" ".join((verb, *units)))
        if verb in ("reset-failed", "daemon-reload"):
            return True
        self._change()
        sockets = {f"{self.facts.site}-{one.name}-next.socket": one.next_socket for one in self.facts.services}
        for unit in units:
            self.active.pop(unit, None)
            if unit in sockets:
                self.files.pop(sockets[unit], None)
        if verb == "stop":
            return True
        (unit,) = units
        is_in_next = unit.endswith(("-next.service", "-before.service", "-after.service"))
        link = f"{self.facts.root}/{'next' if is_in_next else 'current'}"
        target = self.readlink(link)
        release = (self.readlink(f"{self.facts.root}/current") if target == COVERS else target).removeprefix(
            "releases/"
        )
        if self.broken & {unit, f"{release}:{unit}"}:
            return False
        if unit in sockets:
            self.files[sockets[unit]] = SOCKET
        if not unit.endswith(("-before.service", "-after.service")):
            self.active[unit] = release
        return True

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        found = {
            "SubState": "running" if unit in self.active else "dead",
            "NRestarts": "3" if unit in self.crashing else "0",
            "Result": self.results.get(unit, "exit-code"),
            "MainPID": "7" if unit in self.active else "0",
        }
        return {name: found[name] for name in names}

    def is_active(self, unit: str) -> bool:
        return unit in self.active

    def log(self, unit: str) -> str:
        return f"{self.said}\nthe last words of {unit}"

    def workers(self, main: str) -> set[str]:
        if main == "0" or not self.spawned:
            return set()
        return self.spawned.pop(0) if len(self.spawned) > 1 else self.spawned[0]

    def end_group_of(self, process: int) -> None:
        self.ended.append(process)

    def answer(self, service: Service, listen: str, seconds: int) -> Answer:
        unit = self._unit_at(listen)
        if unit not in self.active:
            return NO_ANSWER
        return self.says.get(f"{self.active[unit]}:{unit}", self.says.get(unit, WELL))

    def page_problems(self, build: str, facts: Facts) -> list[str]:
        return [self.pages_wrong] if self.pages_wrong else []

    def page_hints(self, build: str, facts: Facts) -> list[str]:
        return []

    def script_sources(self, builds: list[str], facts: Facts) -> str:
        return "".join(f"{build}\n" for build in builds)

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += max(1, int(seconds))
        self.slept.append(seconds)

    def tell(self, text: str) -> None:
        self.errors.append(text)
