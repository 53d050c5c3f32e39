"""Finds what a repository's containers run beside its application or before it, other than workers of task queues."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from slipway.starter.reading import compose
from slipway.starter.reading.apps import App
from slipway.starter.reading.files import Place, Repository, folder_of, line_of, parents
from slipway.starter.reading.images import first_script
from slipway.starter.reading.python import Code, dotted_of, is_main

# Servers, programs of task queues, and tools for development.
_KNOWN = re.compile(
    r"\b(uvicorn|gunicorn|hypercorn|granian|daphne|fastapi|celery|arq|dramatiq|taskiq|rq|rqworker|saq|huey_consumer|flower"
    r"|pytest|jupyter\w*|streamlit|ruff|mypy|pip|npm|yarn|pnpm|node)\b"
)
_PYTHON = re.compile(r"\bpython[\d.]*\b|\.(py|sh)\b|\b(alembic|aerich|beanie|pymongo-migrate|mongodb-migrate)\b")
_FOR_WORK = re.compile(r"(^|[._-])(dev|test|local|override|ci)([._-]|$)", re.IGNORECASE)
_SERVER = re.compile(r"\b(uvicorn|gunicorn|hypercorn|granian|daphne|fastapi)\b")
# What comes before a command, and what does nothing but wait or prepare the shell.
_BEGIN = re.compile(r"^\s*(?:[\w-]+:\s+|-\s+)?(?:CMD|ENTRYPOINT)?[\s\[\"',]*(?:(?:ba)?sh[\s\"',]+-\w*c[\s\"',]+)?")
_NOTHING = re.compile(
    r"^(#|cd|if|while|until|export|echo|source|\.)( |$|!)|wait[-_]for|\bsleep\b|\bnc\b|dockerize|\bcurl\b"
)
# The commands of a line of a script, and the words of the shell before one.
_COMMANDS = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|(?<!&)&(?!&)|(?<!\|)\|(?!\|)|[^"'&|;])+""")
_WORDS = re.compile(r"^\s*(?:(?:then|do|else|exec|time|!|\{|\()\s+)*")
# What runs the command that a script is given: nothing after it is run.
_GIVEN = re.compile(r"""^\s*exec\s.*"?\$[@*]|^\s*"?\$[@*]"?\s*$""")
MAX_WORDS = 200


@dataclass(frozen=True)
class Beside:
    """`is_first`: it ends before the application starts."""

    command: str
    place: Place
    is_first: bool = False


def beside(repository: Repository, app: App, code: Code) -> list[Beside]:
    services = (one for one in _services(repository, app) if not _serves(code, one.command))
    return [*{one.command: one for one in (*services, *_before(repository, app))}.values()]


def _serves(code: Code, command: str) -> bool:
    """Whether a command runs a module that starts a server, itself or by one that it imports."""
    for name, file in re.findall(r"\bpython[\d.]*\s+(?:-[a-zA-Z]\s+)*?(?:-m\s+([\w.]+)|([\w./-]+\.py)\b)", command):
        parts = file.removesuffix(".py").strip("./").split("/")
        # The path in a container may begin with its folder.
        names = [f"{name}.__main__", name] if name else [".".join(parts[count:]) for count in range(len(parts))]
        if module := next((found for one in names if (found := code.module(one))), None):
            imported = (found for one in module.imported if (found := code.module(one)))
            return _starts(module.tree) or any(_starts(one.tree, is_imported=True) for one in imported)
    return False


def _starts(tree: ast.AST, is_imported: bool = False) -> bool:
    if isinstance(tree, ast.Call) and re.match(r"(uvicorn|hypercorn|granian)\b", dotted_of(tree.func)):
        return True
    # What runs if the file itself is run does not run if it is imported.
    inner = [
        one for one in ast.iter_child_nodes(tree) if not (is_imported and isinstance(one, ast.If) and is_main(one))
    ]
    return any(_starts(one, is_imported) for one in inner)


def _services(repository: Repository, app: App) -> Iterator[Beside]:
    """The services of compose files that are built from the application's folder and run another program."""
    built = [one for one in compose.built(repository) if not _FOR_WORK.search(one.file.rpartition("/")[2])]
    for one in built:
        text = repository.read(one.file) or ""
        match = re.search(rf"^[ \t]+[\"']?{re.escape(one.name)}[\"']?:", text, re.MULTILINE)
        place = Place(one.file, line_of(text, match.start()) if match else 0)
        command = one.command
        if not command and one.dockerfile:
            command, place = _of_dockerfile(repository, one.dockerfile)
        if _is_other(repository, command) and one.context in parents(app.root) and not _FOR_WORK.search(one.name):
            yield Beside(command[:MAX_WORDS], place, one.is_once)


def _is_other(repository: Repository, command: str) -> bool:
    """Whether a command runs a program of the application that is neither a server nor a worker of a task queue."""
    if not _PYTHON.search(command) or _KNOWN.search(command):
        return False
    scripts = [file for name in re.findall(r"[\w.-]+\.sh\b", command) for file in repository.named(name)]
    return not any(_KNOWN.search(repository.read(file) or "") for file in scripts)


def _of_dockerfile(repository: Repository, file: str) -> tuple[str, Place]:
    """The command of a Dockerfile's last stage."""
    text = repository.read(file) or ""
    found = [*re.finditer(r"^(?:CMD|ENTRYPOINT)[ \t]+(.+)$", text, re.MULTILINE)]
    if not found:
        return "", Place(file)
    words = re.findall(r"\"((?:[^\"\\]|\\.)*)\"", found[-1][1]) if found[-1][1].startswith("[") else []
    return shlex.join(words) if words else found[-1][1].strip(), Place(file, line_of(text, found[-1].start()))


def _before(repository: Repository, app: App) -> Iterator[Beside]:
    """What runs before the server in the command that starts it, and the scripts that images run before that."""
    place = app.start.place if app.start else None
    base = place.file.rpartition("/")[2] if place else ""
    told: list[Beside] = []
    if place and not re.search(r"\.(md|rst)$|^(README|Makefile)", base, re.IGNORECASE) and not _FOR_WORK.search(base):
        text = repository.read(place.file) or ""
        lines = text.split("\n")
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        server = _SERVER.search(line)
        parts = re.split(r"&&|;|\|\|", line[: server.start()])[:-1] if server else []
        told += _of_script(repository, place.file, place.line - 1) if base.endswith(".sh") else []
        told += [one for part in parts if (one := _command(repository, part, place))]
    if (script := first_script(repository, app)) and not (place and place.file == script):
        told += _of_script(repository, script)
    yield from told
    # https://github.com/tiangolo/uvicorn-gunicorn-docker#pre_start_path
    for file in repository.named("prestart.sh", "prestart.py"):
        name = file.rpartition("/")[2]
        is_told = any(name in one.command for one in told)
        if folder_of(file) in (*parents(app.root), folder_of(app.file)) and not is_told:
            yield Beside(name, Place(file), is_first=True)


def _of_script(repository: Repository, file: str, count: int | None = None) -> Iterator[Beside]:
    """What the first lines of a script run, up to `count` or to where it runs the command that it is given."""
    lines = (repository.read(file) or "").split("\n")[:count]
    number = 0
    while number < len(lines) and not _GIVEN.search(lines[number]):
        line, place = lines[number], Place(file, number + 1)
        while line.endswith("\\") and number + 1 < len(lines):
            number += 1
            line = f"{line[:-1].rstrip()} {lines[number].strip()}"
        number += 1
        for part in _COMMANDS.findall(line) if not line.lstrip().startswith("#") else ():
            if one := _command(repository, part, place):
                yield one


def _command(repository: Repository, text: str, place: Place) -> Beside | None:
    """A command of a script that the server needs before its start, or beside it if it runs in the background."""
    command = _WORDS.sub("", _BEGIN.sub("", text)).strip()
    if not _is_other(repository, command) or _NOTHING.search(command):
        return None
    return Beside(command.rstrip("& ")[:MAX_WORDS], place, is_first=not command.endswith("&"))
