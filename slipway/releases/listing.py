"""`slipway releases`: the releases on the hosts, with author, time and source."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pyinfra.api.host import Host

from slipway.engine.connections import Connections
from slipway.facts.base import Output
from slipway.releases import artifact


class ReleaseThere(BaseModel):
    """A release on a host; of one from an adoption only the id is known."""

    id: str
    when: str = ""
    who: str = ""
    commit: str = ""
    ref: str = ""
    path: str = ""
    # "current" | "previous" | "", by the link that points to it.
    place: str = ""


def releases_of(connections: Connections) -> dict[str, list[ReleaseThere]]:
    """The releases of each host by its name, newest first."""

    def question(host: Host) -> tuple[type[Output], dict[str, Any]]:
        return Output, {"command": listing(connections.settings[host.name].released.site_root)}

    return {name: parsed(output) for name, output in connections.ask(question).items()}


def listing(site_root: str) -> str:
    """A command that prints a line for each release: its link's name (or -), its id, its record (or nothing)."""
    # printf, as dash's echo interprets backslashes.
    return (
        f"cd {shlex.quote(site_root)}/releases 2> /dev/null && for id in $({artifact.IDS} | sort -r); do place=;"
        ' for link in previous current; do [ "$(readlink ../$link)" != releases/$id ] || place=$link; done;'
        f" record=$(cat $id/{artifact.RECORD} 2> /dev/null | tr -d '\\n');"
        ' printf "%s %s %s\\n" ${place:--} $id "$record"; done'
    )


def parsed(output: str) -> list[ReleaseThere]:
    found = []
    for line in output.splitlines():
        place, identifier, record = line.split(" ", 2)
        known = _record(record)
        found.append(ReleaseThere(**{**known, "id": identifier, "place": "" if place == "-" else place}))
    return found


def _record(text: str) -> dict[str, str]:
    """The content of a record; `{}` if it is invalid."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if k in ReleaseThere.model_fields and isinstance(v, str)}


def difference(servers: Mapping[str, list[ReleaseThere]]) -> str:
    """How the releases that are live on the application servers of one site differ, "" if they do not."""
    live = {
        name: next((one.id for one in releases if one.place == "current"), "none") for name, releases in servers.items()
    }
    if len({*live.values()}) < 2:
        return ""
    said = ", ".join(f"{name} has {release}" for name, release in live.items())
    return f"the servers differ: {said}; `slipway release` or `slipway rollback ID` gives all the same one"


def rows(releases: list[ReleaseThere]) -> Iterator[tuple[str, str]]:
    """A mark and a line for each release."""
    for one in releases:
        of = one.ref or one.path
        parts = [one.id, *([f"{one.when} by {one.who}"] if one.who else []), *([f"of {of}"] if of else [])]
        yield one.place, "  ".join(parts)
    if not releases:
        yield "", "none"
