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
from slipway.starter.reading.python import Code, dotted_of, is_main

# Servers, programs of task queues, and tools for development.
_KNOWN = re.compile(
    r"\b(uvicorn|gunicorn|hypercorn|granian|daphne|fastapi|celery|arq|dramatiq|taskiq|rq|rqworker|saq|huey_consumer|flower"
    r"|pytest|jupyter\w*|streamlit|ruff|mypy|pip|npm|yarn|pnpm|node)\b"
)
_PYTHON = re.compile(r"\bpython[\d.]*\b|\.(py|sh)\b|\balembic\b")
_FOR_WORK = re.compile(r"(^|[._-])(dev|test|local|override|ci)([._-]|$)", re.IGNORECASE)
_SERVER = re.compile(r"\b(uvicorn|gunicorn|hypercorn|granian|daphne|fastapi)\b")
# What comes before a command, and what does nothing but wait or prepare the shell.
_BEGIN = re.compile(r"^\s*(?:[\w-]+:\s+|-\s+)?(?:CMD|ENTRYPOINT)?[\s\[\"',]*(?:(?:ba)?sh[\s\"',]+-\w*c[\s\"',]+)?")
_NOTHING = re.compile(r"^(#|cd|if|export|echo|source|\.)( |$|!)|wait[-_]for|\bsleep\b|\bnc\b|dockerize|\bcurl\b")
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
    """What runs before the server in the command that starts it, and the script that images run before that."""
    place = app.start.place if app.start else None
    base = place.file.rpartition("/")[2] if place else ""
    if place and not re.search(r"\.(md|rst)$|^(README|Makefile)", base, re.IGNORECASE) and not _FOR_WORK.search(base):
        text = repository.read(place.file) or ""
        lines = text.split("\n")
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        server = _SERVER.search(line)
        parts = re.split(r"&&|;|\|\|", line[: server.start()])[:-1] if server else []
        above = lines[: place.line - 1] if base.endswith(".sh") else []
        for part in (*above, *parts):
            command = _BEGIN.sub("", part).strip()
            if _is_other(repository, command) and not _NOTHING.search(command):
                yield Beside(command[:MAX_WORDS], place, is_first=True)
    # https://github.com/tiangolo/uvicorn-gunicorn-docker#pre_start_path
    for file in repository.named("prestart.sh", "prestart.py"):
        if folder_of(file) in (*parents(app.root), folder_of(app.file)):
            yield Beside(file.rpartition("/")[2], Place(file), is_first=True)
