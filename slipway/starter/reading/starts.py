"""Finds the start commands of an application: in Dockerfiles, compose files, scripts, READMEs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from slipway.starter.reading.files import Place, Repository, folder_of, line_of
from slipway.starter.reading.python import argument, called, dotted_of, tree_of

# The rank of each type of file: production before what people type.
KINDS = (
    (90, ("Dockerfile", "Dockerfile.*", "*.Dockerfile", "*.dockerfile", "Containerfile")),
    (80, ("docker-compose*.y*ml", "compose*.y*ml")),
    (70, ("Procfile", "Procfile.*", "fly.toml", "render.yaml", "railway.*", "nixpacks.toml", "app.yaml", "*.service")),
    (60, ("*.conf", "*.sh", "*.bat", "*.ps1", "Makefile", "justfile", "Taskfile.y*ml", "pyproject.toml")),
    (50, ("package.json", "gunicorn*.py", "start*", "run*")),
    (30, ("README*", "readme*", "*.md", "*.rst")),
)  # fmt: skip
# Files for development.
_FOR_WORK = re.compile(r"dev|test|local|debug", re.IGNORECASE)
IN_CODE = 40
MAX_READ = 400
_SERVERS = re.compile(r"\b(?:uvicorn|gunicorn|hypercorn|granian|daphne)\b")
_TARGET = re.compile(r"(?<![\w./:@-])([A-Za-z_][\w.]*):([A-Za-z_]\w*)(\(\))?(?![\w/.:-])")
_FASTAPI_RUN = re.compile(r"\bfastapi[\"',\s]+(?:run|dev)[\"',\s]+([\w./-]+\.py)")
_ENTRYPOINT = re.compile(r"^\s*entrypoint\s*=\s*[\"']([\w.]+):(\w+)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """`module` is dotted, or a file's name with .py, with the attribute ""."""

    place: Place
    module: str
    attribute: str
    is_factory: bool
    weight: int


def starts(repository: Repository) -> list[Start]:
    """All starts, best first."""
    found = []
    read = 0
    for file in repository.files:
        name = file.rpartition("/")[2]
        weight = next((number for number, patterns in KINDS if any(fnmatch(name, one) for one in patterns)), 0)
        if weight and read < MAX_READ and not name.endswith(".lock"):
            read += 1
            text = repository.read(file) or ""
            found += [*_in_text(file, text, weight - 5 * bool(_FOR_WORK.search(name)))]
    return sorted(found, key=lambda start: -start.weight)


def _in_text(file: str, text: str, weight: int) -> Iterator[Start]:
    for match in _SERVERS.finditer(text):
        # A command may span lines, with each part quoted.
        window = text[match.end() : match.end() + 400]
        end = re.search(r"\n\s*\n|\n\w+:|&&\s*\n", window)
        window = window[: end.start()] if end else window
        if named := _TARGET.search(window):
            is_factory = bool(named[3]) or "--factory" in window
            place = Place(file, line_of(text, match.end() + named.start()))
            yield Start(place, named[1], named[2], is_factory, weight)
    for run in _FASTAPI_RUN.finditer(text):
        yield Start(Place(file, line_of(text, run.start())), run[1].removeprefix("./"), "", False, weight)
    if file.endswith("pyproject.toml") and "[tool.fastapi]" in text and (entry := _ENTRYPOINT.search(text)):
        yield Start(Place(file, line_of(text, entry.start())), entry[1], entry[2], False, 95)


def in_code(repository: Repository, file: str) -> Iterator[Start]:
    """`uvicorn.run("x:app")` and `uvicorn.run(app)` in a module."""
    text = repository.read(file) or ""
    if "uvicorn" not in text or (".run(" not in text and "Config(" not in text):
        return
    found = tree_of(repository, file)
    for node in ast.walk(found[0]) if found else ():
        if not isinstance(node, ast.Call) or called(node) not in ("run", "Config"):
            continue
        if not dotted_of(node.func).startswith("uvicorn"):
            continue
        target = argument(node, "app", 0)
        place = Place(file, node.lineno)
        factory = argument(node, "factory")
        is_factory = isinstance(factory, ast.Constant) and bool(factory.value)
        match target:
            case ast.Constant(value=str(text)) if re.fullmatch(r"[\w.]+:\w+", text):
                module, _, attribute = text.partition(":")
                yield Start(place, module, attribute, is_factory, IN_CODE)
            case ast.Name(id=name):
                yield Start(place, file, name, False, IN_CODE - 1)
            case ast.Call(func=ast.Name(id=name)):
                yield Start(place, file, name, True, IN_CODE - 2)


def nearness(start: Start, file: str) -> int:
    """The number of folders that a start's file and another one share."""
    here, there = folder_of(start.place.file).split("/"), folder_of(file).split("/")
    count = 0
    for one, other in zip(here, there, strict=False):
        if one != other:
            break
        count += bool(one)
    return count
