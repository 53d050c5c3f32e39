"""Finds a build of pages that is in git and that an application serves itself, whatever the repository could build."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slipway.secrets.committed import is_ignored
from slipway.starter.reading.files import Place, Repository
from slipway.starter.reading.folders import served
from slipway.starter.reading.python import Module, argument, called
from slipway.starter.reading.routes import Route, Routes
from slipway.starter.reading.value import TOP, Scope, beginning_of
from slipway.starter.reading.values import Values

_FILES = re.compile(r"\b(?:src|href)=[\"']?([^\"'\s>]+\.(?:js|css))\b")
# A hash of at least eight characters, which is no word: with a digit, or with a capital within.
_HASHED = re.compile(r"[.-](?=[\w-]*(?:[0-9]|\w[A-Z]))[\w-]{8,}(?:\.chunk)?\.(?:js|css)$")


@dataclass(frozen=True)
class OwnPages:
    """`folder` is the build's in the repository, `place` where it is served at /. `other` is a path at which it would
    mix with a new build: a page, which Nginx proxies, or a route for any name, which Nginx does not. "" for none."""

    folder: str
    place: Place
    other: str = ""
    other_place: Place | None = None


def own_pages(
    repository: Repository, values: Values, modules: list[Module], routes: Routes, root: str, targets: set[str]
) -> OwnPages | None:
    """`root` is the folder that the application is started in; `targets` are those that frontends are built into."""
    pages: dict[str, dict[str, Place]] = {}
    for one in served(values, routes, root):
        folder = posixpath.normpath(posixpath.join(root, one.path))
        pages.setdefault(folder, {}).setdefault(_plain(one.url), one.place)
    files: dict[str, str] = {}
    for folder, route in _of_routes(values, modules, routes, root):
        files[route.path] = folder
        pages.setdefault(folder, {}).setdefault(_plain(route.path), route.place)
    for folder, paths in pages.items():
        if "/" not in paths or folder in targets or not _is_build(repository, folder):
            continue
        others = {path: place for path, place in paths.items() if path != "/" and not path.startswith("/{")}
        # A page of its own for any name, as that of a short link.
        others |= {
            route.path: route.place
            for route in routes.found
            if route.kind in ("get", "api_route") and re.fullmatch(r"/\{\w+\}", route.path) and route.path not in files
        }
        other, other_place = next(iter(others.items()), ("", None))
        return OwnPages(folder, paths["/"], other, other_place)
    return None


def _plain(path: str) -> str:
    """The same path for all that is answered at / if nothing else is."""
    return "/" if path in ("", "/") or re.fullmatch(r"/\{\w+:path\}", path) else path


def _of_routes(values: Values, modules: list[Module], routes: Routes, root: str) -> Iterator[tuple[str, Route]]:
    """The routes that answer with an index.html, each with its folder."""
    by_place = {route.place: route for route in routes.found}
    for node, scope in values.nodes(modules):
        if isinstance(node, ast.Call) and called(node) == "FileResponse" and scope.function:
            text = beginning_of(values.of(argument(node, "path", 0), scope))
            text = text.removeprefix(f"{TOP}/") if text.startswith(TOP) else posixpath.join(root, text)
            folder, _, name = posixpath.normpath(text).rpartition("/")
            for route in _routes_of(scope, by_place) if name == "index.html" else ():
                yield folder, route


def _routes_of(scope: Scope, by_place: dict[Place, Route]) -> Iterator[Route]:
    for decorator in scope.function.decorator_list if scope.function else ():
        if route := by_place.get(scope.module.place(decorator)):
            yield route


def _is_build(repository: Repository, folder: str) -> bool:
    """Whether a folder that releases have is what a tool built: its page names files by their hashes."""
    if folder.startswith(("/", "..")):
        return False
    there = repository.top / folder
    text = repository.read(f"{folder}/index.html") or ""
    hashed = [name for name in _FILES.findall(text) if _HASHED.search(name)]
    return any(_is_there(there, name) for name in hashed) and not is_ignored(there / "index.html")


def _is_there(folder: Path, url: str) -> bool:
    """Whether a folder has a file of a page, whose address may begin with a path that the folder is served at."""
    parts = url.strip("./").split("/")
    return any((folder / "/".join(parts[count:])).is_file() for count in range(len(parts)))
