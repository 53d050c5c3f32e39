"""What is on a server that was set up without Slipway, and what of it an adoption would not keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slipway.settings.doc import literal
from slipway.settings.model import Settings

# The marker in Slipway's own files.
OURS = "by Slipway"


@dataclass(frozen=True)
class Obstacle:
    """Something that would be lost, or would break, if Slipway adopted the server. `name` says where it is: a file and
    a line of it, a unit, a user. The user can list `name` in `adopt_without` to give it up, if `may_go`."""

    name: str
    found: str
    need: str
    may_go: bool = True

    def __str__(self) -> str:
        way_out = f", or {literal(self.name)} in adopt_without" if self.may_go else ""
        return f"{self.name}: found {self.found}, need {self.need}{way_out}"


def in_the_way(obstacles: Iterable[Obstacle], without: Iterable[str]) -> list[str]:
    """Their texts, without duplicates and without those that may go and are listed in `without`."""
    named = {*without}
    return list(dict.fromkeys(str(one) for one in obstacles if not (one.may_go and one.name in named)))


def own_services(settings: Settings) -> set[str]:
    """The services of the sites, and the temporary names of the previous backend (tasks/backend_by_hand.py)."""
    found = {f"{site.unit(one)}.service" for site in settings.all_sites for one in site.all_services}
    kept = (f"{site.backend_unit}-by-hand.{kind}" for site in settings.all_sites for kind in ("service", "scope"))
    return found | {*kept}


def setting(name: str, value: object) -> str:
    """A setting as it is written in a settings file: `mongodb_port = 27018`."""
    return f"{name} = {literal(value)}"
