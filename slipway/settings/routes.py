"""Which URL paths lead to which program of a site: the notation of a path, and Nginx's locations for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

from slipway.settings.types import Check

_PATH = r"/(?:[\w.~@+-]+/)*(?:[\w.~@+-]+)?"
_ROUTE = re.compile(rf"(?P<exact>= ?)?(?P<path>{_PATH})(?: -> (?P<target>{_PATH}))?")
EXPECTED = (
    'a URL path: "/api/" for it and all below it, "= /users" for it alone, "/" for what is no file, "/api/ -> /" to'
    " pass it on without its prefix"
)
# The whole of a site that no file answers.
REST = "/"
# Slipway's own, in templates/nginx/site.
RESERVED = {
    "/slipway-closing/": "Slipway",
    "= /slipway-unavailable": "Slipway",
    "/.well-known/acme-challenge/": "the ACME server",
}


class Route(NamedTuple):
    """A path of a setting: `target` takes the place of `path` when a request is passed on, "" where it stays."""

    path: str
    is_exact: bool = False
    target: str = ""

    @property
    def locations(self) -> dict[str, str]:
        """Nginx's locations for it, each with what takes its place, "" where nothing does."""
        if self.is_exact or self.path == REST:
            return {f"{'= ' * self.is_exact}{self.path}": self.target}
        # Not the one with the slash alone: Nginx would redirect to it, and FastAPI back.
        path, target = self.path.rstrip("/"), self.target.rstrip("/")
        return {f"= {path}": self.target and (target or "/"), f"{path}/": self.target and f"{target}/"}


def route(text: str) -> Route:
    """A path as a setting has it. Raises ValueError."""
    found = _ROUTE.fullmatch(text)
    if not found:
        raise ValueError(EXPECTED)
    path, target, is_exact = found["path"], found["target"] or "", bool(found["exact"])
    if target and path == REST and not is_exact:
        raise ValueError('"/" without a target, or another path: what is no file has no prefix')
    return Route(path, is_exact, target)


def _is_route(text: str) -> bool:
    return bool(route(text))


RoutePath = Annotated[str, Check(_is_route, EXPECTED)]


class Place(NamedTuple):
    """A location of Nginx, the name of the service that answers there, and what takes the location's place."""

    location: str
    service: str
    target: str

    @property
    def prefix(self) -> str:
        return self.location.removeprefix("= ")

    def answers(self, path: str) -> bool:
        return path == self.prefix if self.location.startswith("= ") else path.startswith(self.prefix)

    def passed(self, path: str) -> str:
        """What a path becomes on its way to the service, "" where it stays."""
        return self.target and self.target + path.removeprefix(self.prefix)


def places(of_backend: Iterable[str], of_services: Mapping[str, str], has_frontend: bool) -> list[Place]:
    """The places of a site: `of_backend` are the backend's paths, `of_services` the path of each other service by its
    name. Without a frontend the backend answers what no other service does."""
    found = [
        Place(location, name, target)
        for name, text in [*(("backend", text) for text in of_backend), *of_services.items()]
        for location, target in route(text).locations.items()
    ]
    if not has_frontend and REST not in {place.location for place in found}:
        found.append(Place(REST, "backend", ""))
    return found


def place_of(path: str, among: Iterable[Place]) -> Place | None:
    """The place of a path, as Nginx finds it: an exact one, or else that with the longest prefix."""
    answering = [place for place in among if place.answers(path)]
    return max(answering, key=lambda place: (place.location.startswith("= "), len(place.location)), default=None)


def overlaps(texts: Iterable[tuple[str, str]], taken: Mapping[str, str]) -> list[str]:
    """Paths that lead to two programs: `texts` are pairs of who wants a path, and the path; `taken` has who has a
    location."""
    problems, taken = [], {**RESERVED, **taken}
    for name, text in texts:
        for location in route(text).locations:
            if location in taken:
                problems.append(f"found {location} for {taken[location]} and for {name}")
            else:
                taken[location] = name
    return problems
