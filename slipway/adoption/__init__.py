"""What earlier owners have left on a server, and what Slipway would not keep of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slipway.settings.doc import literal
from slipway.settings.model import Settings

# What Slipway's own files have in them.
OURS = "by Slipway"


@dataclass(frozen=True)
class Obstacle:
    """What would be lost, or would not work, if Slipway went on. `name` says where it is: a file and what is in it, a
    unit, a user. Its owner names it in `adopt_without` where it may go, unless nothing would work then."""

    name: str
    found: str
    need: str
    may_go: bool = True

    def __str__(self) -> str:
        way_out = f", or {literal(self.name)} in adopt_without" if self.may_go else ""
        return f"{self.name}: found {self.found}, need {self.need}{way_out}"


def in_the_way(obstacles: Iterable[Obstacle], without: Iterable[str]) -> list[str]:
    """What is to be told of them, each once, but for those that may go and are named in `without`."""
    named = {*without}
    return list(dict.fromkeys(str(one) for one in obstacles if not (one.may_go and one.name in named)))


def own_services(settings: Settings) -> set[str]:
    """The services of the sites, and the names that an earlier owner's backend has until Nginx is led to Slipway's."""
    found = {f"{site.unit(one)}.service" for site in settings.all_sites for one in site.all_services}
    kept = (f"{site.backend_unit}-by-hand.{kind}" for site in settings.all_sites for kind in ("service", "scope"))
    return found | {*kept}


def setting(name: str, value: object) -> str:
    """A setting as it stands in a file of settings: `mongodb_port = 27018`."""
    return f"{name} = {literal(value)}"
