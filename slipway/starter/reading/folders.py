"""Finds the folders that an application writes to: uploads, logs, generated files."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from slipway.starter.reading.files import Place
from slipway.starter.reading.python import Module, argument, called, dotted_of
from slipway.starter.reading.routes import Routes, serves_files
from slipway.starter.reading.value import TOP, Env, Scope, Value, beginning_of, envs_in
from slipway.starter.reading.values import Values

_HANDLERS = {
    "FileHandler",
    "RotatingFileHandler",
    "TimedRotatingFileHandler",
    "WatchedFileHandler",
    "ConcurrentRotatingFileHandler",
}
_WRITERS = {"write_bytes", "write_text"}
_MAKERS = {"makedirs", "mkdir"}
# Temporary folders, which each service has privately.
_TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/", "/proc/")  # noqa: S108


@dataclass(frozen=True)
class Written:
    """A path in the code, relative to the folder that the application is started in, unless absolute. `path` is a
    folder, or "" for a file in the start folder itself, named `file`. `env` is the variable that sets it, if any."""

    path: str
    place: Place
    env: str = ""
    file: str = ""


def written(values: Values, modules: list[Module], source: str) -> list[Written]:
    """The paths that `modules` write to, each once. `source` is the folder that the application is started in, relative
    to the repository."""
    found: dict[str, Written] = {}
    for node, scope in values.nodes(modules):
        if isinstance(node, ast.Call):
            for target, is_file in _targets(node, scope):
                value = values.of(target, scope)
                if one := _written(value, is_file, scope.module.place(node), source):
                    known = found.get(one.path)
                    found[one.path] = one if known is None or (one.env and not known.env) else known
    inner = [path for path in found if any(path != other and path.startswith(f"{other}/") for other in found if other)]
    return [one for path, one in found.items() if path not in inner]


def _targets(node: ast.Call, scope: Scope) -> Iterator[tuple[ast.expr, bool]]:
    """The path that a call writes to, and whether it is a file."""
    name = called(node) or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
    dotted = dotted_of(node.func)
    first = node.args[0] if node.args else None
    if name in _MAKERS:
        if dotted.startswith("os.") or name == "makedirs":
            if first is not None:
                yield first, False
        elif isinstance(node.func, ast.Attribute):
            yield node.func.value, False
    elif name in _WRITERS and isinstance(node.func, ast.Attribute):
        yield node.func.value, True
    elif name == "open" and dotted in ("open", "aiofiles.open", "io.open") and first is not None:
        mode = argument(node, "mode", 1)
        if isinstance(mode, ast.Constant) and re.search(r"[wax+]", str(mode.value)):
            yield first, True
    elif name in _HANDLERS:
        if (target := argument(node, "filename", 0)) is not None:
            yield target, True
    elif name == "basicConfig":
        if (target := argument(node, "filename")) is not None:
            yield target, True
    elif dotted == "logger.add" and scope.module.imports.get("logger", ("",))[0] == "loguru" and first is not None:
        yield first, True


def _written(value: Value, is_file: bool, place: Place, source: str) -> Written | None:
    text = beginning_of(value)
    if not text or "\n" in text or text.startswith(_TEMPORARY) or "://" in text:
        return None
    envs = envs_in(value[:1])
    env = envs[0].name if envs and isinstance(value[0], Env) else ""
    if text.startswith(TOP):
        end = "/" * text.endswith("/")
        text = posixpath.relpath(posixpath.normpath(text), posixpath.normpath(f"{TOP}/{source}")) + end
    # An unknown rest is a file's name, unless the known text ends with a slash.
    whole = None not in value and not any(isinstance(part, Env) and part.default is None for part in value)
    path = posixpath.normpath(text)
    file = posixpath.basename(path) if is_file and whole else ""
    if is_file:
        path = posixpath.dirname(path) if whole or not text.endswith("/") else path
    elif not whole and not text.endswith("/"):
        path = posixpath.dirname(path)
    path = "" if path in (".", "") else path
    if not is_file and not path:
        return None
    return Written(path, place, env, file)


@dataclass(frozen=True)
class Served:
    """A folder that the application serves itself, at `url`."""

    path: str
    url: str
    place: Place


def served(values: Values, routes: Routes, source: str) -> list[Served]:
    """The folders of StaticFiles."""
    found = []
    for route in routes.found:
        if route.folder is not None and route.scope is not None:
            text = beginning_of(values.of(route.folder, route.scope))
            if text.startswith(TOP):
                text = posixpath.relpath(posixpath.normpath(text), posixpath.normpath(f"{TOP}/{source}"))
            if text:
                found.append(Served(posixpath.normpath(text), route.path, route.place))
    return found


def is_served(values: Values, modules: list[Module], routes: Routes, root: str, target: str) -> bool:
    """Whether the application, imported from `root`, serves the folder `target` of the repository, and needs no other
    by a path relative to where it is started."""
    paths = [posixpath.normpath(posixpath.join(root, one.path)) for one in served(values, routes, root)]
    for node, scope in values.nodes(modules):
        if called(node) == "FileResponse" and isinstance(node, ast.Call):
            text = beginning_of(values.of(given, scope)) if (given := argument(node, "path", 0)) else ""
            if text.startswith(TOP):
                paths.append(posixpath.normpath(text).removeprefix(f"{TOP}/"))
        elif isinstance(node, ast.Call) and (
            serves_files(node) or called(node) in ("Jinja2Templates", "FileSystemLoader")
        ):
            text = beginning_of(values.of(given, scope)) if (given := argument(node, "directory", 0)) else ""
            if text and not text.startswith(("/", "..")) and not target.startswith(f"{root}/"):
                return False
    return any(f"{path}/".startswith(f"{target}/") for path in paths)
