"""Finds the programs that a repository runs beside its application: workers of task queues, and Celery's broker."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from slipway.starter.reading.commands import commands
from slipway.starter.reading.files import Place, Repository
from slipway.starter.reading.python import Code, Module, called, dotted_of
from slipway.starter.reading.starts import KINDS
from slipway.starter.reading.value import Env, Scope
from slipway.starter.reading.values import Values
from slipway.starter.reading.variables import Variables

# Files with start commands for production; not those that people read or type from.
_FILES = tuple(pattern for weight, patterns in KINDS if weight >= 60 for pattern in patterns)
_NOT_RUN = re.compile(r"Makefile$|justfile$|Taskfile|pyproject|(^|[._-])(dev|test|local)", re.IGNORECASE)
# Programs of task queues.
_PROGRAMS = r"celery|arq|dramatiq(?:-gevent)?|taskiq|rq|rqworker|saq|huey_consumer(?:\.py)?"
# The subcommands that run permanently, and the name of the service.
_SUBCOMMANDS = {"worker": "worker", "beat": "beat", "scheduler": "scheduler"}
# Celery's options with a value, as far as they may come before the subcommand or the application.
_WITH_VALUE = {
    *("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir", "-l", "--loglevel"),
    *("-c", "--concurrency", "-Q", "--queues", "-n", "--hostname", "-P", "--pool", "-f", "--logfile", "--pidfile"),
    *("-p", "--processes", "-t", "--threads", "-w", "--workers", "--path", "--log-level", "-k", "--worker-type"),
    *("--tasks-pattern", "-tp", "--max-async-tasks", "--watch", "--log-file", "--pid-file", "--uid", "--gid"),
    *("--custom-log-dict", "--worker-shutdown-timeout", "-s", "--schedule"),
}  # fmt: skip
# Options about files, users and servers of a container, or for development: systemd takes care of all of it.
_DROPPED_WITH_VALUE = {
    *("-b", "--broker", "--result-backend", "--workdir", "-f", "--logfile", "--pidfile", "--watch"),
    *("--log-file", "--pid-file", "--uid", "--gid"),
}  # fmt: skip
_DROPPED = {"-D", "--detach", "--reload", "-r"}
# Subcommands that run nothing to keep up: a monitor, a question, a command by hand.
_OTHER_COMMANDS = {
    *("flower", "inspect", "status", "purge", "control", "call", "shell", "report", "info", "--help", "--version"),
    *("--check", "empty", "requeue", "events", "amqp", "migrate", "graph", "list", "result", "upgrade", "logtool"),
}  # fmt: skip
# Celery's scheduler keeps its times in a file, and a release is read-only.
_SCHEDULE = "--schedule=/tmp/celerybeat-schedule"
_BEAT_FILES = {"-s", "--schedule", "--pidfile"}
_BROKER = {"broker", "backend", "broker_url", "result_backend"}


@dataclass(frozen=True)
class Worker:
    """`name` is for a service, `command` what it runs; `module` is what that imports."""

    name: str
    command: str
    module: str
    place: Place


@dataclass(frozen=True)
class Unread:
    """A start of a queue's program that was not understood, or whose broker an option names."""

    command: str
    place: Place
    is_broker: bool = False


def workers(repository: Repository, code: Code) -> tuple[list[Worker], list[Unread]]:
    """The workers of the application that `code` has, each once, and the commands that were not understood."""
    found: dict[tuple[str, ...], Worker] = {}
    unread: dict[str, Unread] = {}
    for file in sorted(repository.files, key=lambda file: "prod" not in file.rpartition("/")[2]):
        base = file.rpartition("/")[2]
        if not any(fnmatch(base, one) for one in _FILES) or _NOT_RUN.search(base):
            continue
        for one in commands(repository.read(file) or "", _PROGRAMS):
            place, text = Place(file, one.line), " ".join(one.words)
            worker = _worker(one.words, place)
            if worker is None:
                if one.is_run and not _OTHER_COMMANDS & {*one.words}:
                    unread.setdefault(text, Unread(text, place))
            elif code.file_of(worker.module.split(".")[0]):
                # The same for another environment has other options, but the same queues.
                queues = re.findall(r"(?:-Q|--queues)[ =](\S+)", worker.command)
                found.setdefault((worker.name, worker.command.split()[0], worker.module, *queues), worker)
                if any(re.match(r"-b|--broker", word) for word in one.words) and one.words[0] == "celery":
                    unread.setdefault("broker", Unread(text, place, is_broker=True))
    return _named(found.values()), [*unread.values()]


def _worker(words: tuple[str, ...], place: Place) -> Worker | None:
    """The service for a command of a queue's program; None if it is not understood."""
    program, options = words[0], [word for word in words[1:] if word]
    positions = _positionals(options)
    if program in ("celery", "taskiq"):
        sub = next((n for n in positions if options[n] in _SUBCOMMANDS), None)
        if sub is None:
            return None
        name = options.pop(sub)
        if program == "taskiq":
            target = next((options[n] for n in _positionals(options) if ":" in options[n]), "")
            return _made(_SUBCOMMANDS[name], [program, name, *_kept(options)], target, place)
        target, options = _application(options)
        # Celery 5 accepts the application only before the subcommand, and its options only after it.
        begin = [program, *target.split(" "), name]
        kept = _kept(options, _BEAT_FILES if name == "beat" else ())
        if name == "beat":
            kept += [_SCHEDULE, "--pidfile="]
        elif {"-B", "--beat"} & {*kept}:
            kept += [_SCHEDULE]
        return _made(_SUBCOMMANDS[name], [*begin, *kept], re.sub(r"^(-A|--app)[ =]?", "", target), place)
    if program in ("rq", "rqworker") or not positions:
        # It connects to an address that the command has, and imports whatever a job names.
        return None
    return _made("worker", [program, *_kept(options)], options[positions[0]], place)


def _made(name: str, words: list[str], target: str, place: Place) -> Worker | None:
    if not re.fullmatch(r"[\w.]+(:\w+)?", target):
        return None
    return Worker(name, shlex.join(words), target.partition(":")[0], place)


def _positionals(options: list[str]) -> list[int]:
    """The positions of the words that are neither options nor their values."""
    return [
        n for n, word in enumerate(options) if not word.startswith("-") and not (n and options[n - 1] in _WITH_VALUE)
    ]


def _application(options: list[str]) -> tuple[str, list[str]]:
    """Celery's option with the application, and the other options."""
    for n, word in enumerate(options):
        if word in ("-A", "--app") and n + 1 < len(options):
            return f"{word} {options[n + 1]}", options[:n] + options[n + 2 :]
        if re.match(r"--app=|-A[\w.]", word):
            return word, options[:n] + options[n + 1 :]
    return "", options


def _kept(options: list[str], more: Collection[str] = ()) -> list[str]:
    """The options that a service needs; none with a variable, which systemd would not replace."""
    kept: list[str] = []
    dropped = _DROPPED_WITH_VALUE | {*more}
    for n, word in enumerate(options):
        before = options[n - 1] if n else ""
        is_value = before in _WITH_VALUE | dropped
        if word in _DROPPED or word.partition("=")[0] in dropped or (is_value and before in dropped):
            continue
        if "$" in word or (word in _WITH_VALUE and "$" in "".join(options[n + 1 : n + 2])):
            continue
        kept.append(word)
    return kept


def _named(found: Iterable[Worker]) -> list[Worker]:
    """Each by a name of its own: worker, worker-2."""
    counts: dict[str, int] = {}
    named = []
    for one in found:
        counts[one.name] = counts.get(one.name, 0) + 1
        name = one.name if counts[one.name] == 1 else f"{one.name}-{counts[one.name]}"
        named.append(Worker(name, one.command, one.module, one.place))
    return named


def celery_variables(values: Values, modules: list[Module], known: Variables) -> dict[str, Place]:
    """The variables that have the whole URL of Celery's broker or its results, in Redis."""
    found: dict[str, Place] = {}
    for _, expression, scope in _celery_settings(values, modules):
        match values.of(expression, scope):
            case (Env() as env,):
                variable = known[env.name]
                if re.match(r"redis|$", env.default or (variable.known if variable else "")):
                    found.setdefault(env.name, env.place)
    return found


def fixed_brokers(values: Values, modules: list[Module]) -> list[tuple[str, Place]]:
    """The addresses of Celery's broker that are in the code, without logins."""
    found: dict[str, Place] = {}
    for name, expression, scope in _celery_settings(values, modules):
        match values.of(expression, scope):
            case (str(text),) if "broker" in name.lower() and re.match(r"(redis|rediss|amqps?|pyamqp)://", text):
                found.setdefault(re.sub(r"//[^@/]*@", "//", text), scope.module.place(expression))
    return [*found.items()]


def _celery_settings(values: Values, modules: list[Module]) -> Iterator[tuple[str, ast.expr, Scope]]:
    """What the code sets as Celery's broker and as the place of its results, by name."""
    names = _BROKER - {"broker", "backend"}
    if any(called(node) == "Celery" for node, _ in values.nodes(modules)):
        # As `config_from_object` reads them.
        names |= {f"CELERY_{name.upper()}" for name in names} | {"BROKER_URL"}
    for node, scope in values.nodes(modules):
        if called(node) in ("Celery", "update") and isinstance(node, ast.Call):
            yield from ((one.arg, one.value, scope) for one in node.keywords if one.arg and one.arg in _BROKER)
        elif isinstance(node, ast.Assign):
            attributes = {dotted_of(one).rpartition(".")[2] for one in node.targets}
            yield from ((name, node.value, scope) for name in sorted(names & attributes)[:1])
        elif isinstance(node, ast.AnnAssign) and node.value and dotted_of(node.target) in names:
            yield dotted_of(node.target), node.value, scope
