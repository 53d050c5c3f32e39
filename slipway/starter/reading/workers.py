"""Finds the programs that a repository runs beside its application: workers of task queues, and Celery's broker."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from slipway.starter.reading.files import Place, Repository, line_of
from slipway.starter.reading.python import Code, Module, called
from slipway.starter.reading.starts import KINDS
from slipway.starter.reading.value import Env
from slipway.starter.reading.values import Values

# Files with start commands for production; not those that people read or type from.
_FILES = tuple(pattern for weight, patterns in KINDS if weight >= 60 for pattern in patterns)
_NOT_RUN = re.compile(r"Makefile$|justfile$|Taskfile|pyproject|(^|[._-])(dev|test|local)", re.IGNORECASE)
# Options and their values, up to the end of the command.
_OPTIONS = r"((?:[ \t]+-{1,2}[\w-]+(?:[ =][\w.,]+)?)*)"
_COMMANDS = (
    ("worker", re.compile(rf"\bcelery\s+(?:-A|--app)[ =]?([\w.:]+)\s+worker\b{_OPTIONS}")),
    ("beat", re.compile(rf"\bcelery\s+(?:-A|--app)[ =]?([\w.:]+)\s+beat\b{_OPTIONS}")),
    ("worker", re.compile(r"\barq\s+([\w.]+\.\w+)()")),
    ("worker", re.compile(r"\bdramatiq\s+([\w.]+)()")),
    ("worker", re.compile(r"\btaskiq\s+worker\s+([\w.]+:\w+)()")),
)
# Celery's scheduler keeps its times in a file, and a release is read-only.
_SCHEDULE = "--schedule=/tmp/celerybeat-schedule"
_BROKER = {"broker", "backend", "broker_url", "result_backend"}


@dataclass(frozen=True)
class Worker:
    """`name` is for a service, `command` what it runs; `module` is what that imports."""

    name: str
    command: str
    module: str
    place: Place


def workers(repository: Repository, code: Code) -> list[Worker]:
    """The workers of the application that `code` has, each once."""
    found: dict[tuple[str, ...], Worker] = {}
    for file in sorted(repository.files, key=lambda file: "prod" not in file.rpartition("/")[2]):
        base = file.rpartition("/")[2]
        if any(fnmatch(base, one) for one in _FILES) and not _NOT_RUN.search(base):
            # A command may be a list of quoted words.
            text = re.sub(r"[\"'],[ \t]*[\"']", " ", repository.read(file) or "")
            for one in _in_text(file, text):
                if code.file_of(one.module.split(".")[0]):
                    # The same for another environment has other options, but the same queues.
                    queues = re.findall(r"(?:-Q|--queues)[ =](\S+)", one.command)
                    found.setdefault((one.name, one.command.split()[0], one.module, *queues), one)
    return _named(found.values())


def _in_text(file: str, text: str) -> Iterator[Worker]:
    for name, pattern in _COMMANDS:
        for match in pattern.finditer(text):
            words = re.split(r"\s+", match[0].strip())
            if name == "beat":
                words = [
                    *(one for one in words if not one.startswith(("--schedule", "--pidfile"))),
                    _SCHEDULE,
                    "--pidfile=",
                ]
            elif words[0] == "celery" and {"-B", "--beat"} & {*words}:
                words.append(_SCHEDULE)
            yield Worker(name, " ".join(words), match[1].partition(":")[0], Place(file, line_of(text, match.start())))


def _named(found: Iterable[Worker]) -> list[Worker]:
    """Each by a name of its own: worker, worker-2."""
    counts: dict[str, int] = {}
    named = []
    for one in found:
        counts[one.name] = counts.get(one.name, 0) + 1
        name = one.name if counts[one.name] == 1 else f"{one.name}-{counts[one.name]}"
        named.append(Worker(name, one.command, one.module, one.place))
    return named


def celery_variables(values: Values, modules: list[Module]) -> dict[str, Place]:
    """The variables that have the whole URL of Celery's broker or its results, in Redis."""
    found: dict[str, Place] = {}
    for node, scope in values.nodes(modules):
        given: list[ast.expr] = []
        if called(node) in ("Celery", "update") and isinstance(node, ast.Call):
            given = [one.value for one in node.keywords if one.arg in _BROKER]
        elif isinstance(node, ast.Assign):
            names = {one.attr for one in node.targets if isinstance(one, ast.Attribute)}
            given = [node.value] if names & (_BROKER - {"broker", "backend"}) else []
        for expression in given:
            match values.of(expression, scope):
                case (Env() as env,) if re.match(r"redis|$", env.default or ""):
                    found.setdefault(env.name, env.place)
    return found
