"""Programs on a host that are not the distribution's: units, pm2, supervisor, containers, and scheduled jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slipway.facts.base import key_values
from slipway.inspection.masking import masked
from slipway.inspection.questions import parts
from slipway.inspection.report import Job, Port, Service


def services(text: str, listening: list[Port]) -> list[Service]:
    found = parts(text)
    return [
        *_units(text, listening),
        *_pm2(found.get("pm2", [])),
        *_supervisor(found.get("supervisor", [])),
        *_containers(found.get("containers", [])),
        *(Service(kind=name, name=name, state="installed") for name in found.get("platforms", [])),
    ]


def command_of(value: str) -> str:
    """The command line in systemd's `ExecStart={ path=... ; argv[]=... ; ignore_errors=no ... }`."""
    found = re.search(r"argv\[\]=(.*?) ; ignore_errors=", value)
    return found[1] if found else value


def blocks(text: str, part: str) -> list[dict[str, str]]:
    """`systemctl show` of several units in a part of an answer, separated by empty lines. Of a repeated property the
    last value counts."""
    _, _, rest = text.partition(f"== {part}\n")
    shown = rest.partition("\n== ")[0]
    return [block for one in shown.split("\n\n") if (block := key_values(one.split("\n"))).get("Id")]


def _units(text: str, listening: list[Port]) -> Iterator[Service]:
    found = parts(text)
    environment = [line.split(" ", 2) for line in found.get("environment", []) if line.count(" ") >= 2]
    for unit in blocks(text, "units"):
        one = _unit(unit, environment, listening)
        one.by_slipway = f"slipway {one.name}" in found.get("slipway", [])
        yield one


def _unit(unit: dict[str, str], environment: list[list[str]], listening: list[Port]) -> Service:
    name = unit["Id"]
    memory = unit.get("MemoryCurrent", "")
    state = f"{unit.get('ActiveState', '')} ({unit.get('SubState', '')})"
    return Service(
        kind="systemd",
        name=name,
        command=masked(command_of(unit.get("ExecStart", ""))),
        user=unit.get("User") or "root",
        state=f"{state}, {unit.get('UnitFileState') or 'no unit file'}",
        folder=unit.get("WorkingDirectory", "").lstrip("!"),
        file=unit.get("FragmentPath", ""),
        variables=list(dict.fromkeys(value for what, its, value in environment if (what, its) == ("name", name))),
        variables_from=[value for what, its, value in environment if (what, its) == ("file", name)],
        database=next((value for what, its, value in environment if (what, its) == ("database", name)), ""),
        ports=[f"{port.port}/{port.protocol}" for port in listening if port.unit == name],
        memory_mb=int(memory) // 2**20 if memory.isdigit() else None,
    )


def _pm2(lines: list[str]) -> Iterator[Service]:
    one: dict[str, str] = {}
    for line in [*lines, 'end "name": ""']:
        name, _, value = line.partition(":")
        name, value = name.strip('" '), value.strip('" ')
        if line.startswith(("file ", "end ")) or name in one:
            if one.get("name") and one.get("pm_exec_path"):
                yield Service(
                    kind="pm2", name=one["name"], command=masked(one["pm_exec_path"]), folder=one.get("pm_cwd", "")
                )
            one = {}
        if not line.startswith(("file ", "end ")):
            one[name] = value


def _supervisor(lines: list[str]) -> Iterator[Service]:
    one: Service | None = None
    for line in lines:
        if line.startswith("[program:"):
            if one:
                yield one
            one = Service(kind="supervisor", name=line[9:].partition("]")[0])
        elif one:
            name, _, value = (part.strip() for part in line.partition("="))
            if name == "command":
                one.command = masked(value)
            elif name == "user":
                one.user = value
            elif name == "directory":
                one.folder = value
    if one:
        yield one


def _containers(lines: list[str]) -> Iterator[Service]:
    for line in lines:
        kind, name, image, state, ports = (line.split("\t") + [""] * 5)[:5]
        yield Service(kind=kind, name=name, command=image, state=state, ports=[one for one in ports.split(", ") if one])


def jobs(text: str) -> list[Job]:
    found = parts(text)
    packaged = {*found.get("packaged", [])}
    return [*_timers(text, packaged), *_cron(found.get("cron", []), packaged)]


def _timers(text: str, packaged: set[str]) -> Iterator[Job]:
    for timer in blocks(text, "timers"):
        shown = f"{timer.get('TimersCalendar', '')} {timer.get('TimersMonotonic', '')}"
        yield Job(
            kind="timer",
            name=timer["Id"],
            when=", ".join(re.findall(r"\{ (?:OnCalendar=)?(.*?) ;", shown)),
            command=timer.get("Unit", ""),
            packaged=timer["Id"] in packaged,
        )


def _cron(lines: list[str], packaged: set[str]) -> Iterator[Job]:
    file = ""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "file":
            file = rest
        elif word == "script":
            yield Job(
                kind="cron",
                name=rest,
                when=rest.split("/")[2].removeprefix("cron."),
                user="root",
                packaged=rest in packaged,
            )
        elif word == "job":
            fields = rest.split(None, 1 if rest.startswith("@") else 5)
            count = 1 if rest.startswith("@") else 5
            if len(fields) <= count:
                continue
            when, command = " ".join(fields[:count]), fields[count]
            owner = file.rpartition("/")[2]
            if "/crontabs/" not in file:
                owner, _, command = command.partition(" ")
            # cron's own lines, which run cron.daily and the like
            own = file == "/etc/crontab" and "run-parts" in command
            yield Job(
                kind="cron",
                name=file,
                when=when,
                user=owner,
                command=masked(command.strip()),
                packaged=own or file in packaged,
            )
