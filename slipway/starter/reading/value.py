"""Partly known strings, as sequences of strings and environment variables; an unknown part is None."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from slipway.starter.reading.files import Place
from slipway.starter.reading.python import Function, Module, assignments, blocks, is_main


@dataclass(frozen=True)
class Env:
    """An environment variable that is read. `default` is None if the code has none, "" if it is empty or unknown.

    `is_required`: the code fails without it; otherwise it gets None, or the default.
    """

    name: str
    default: str | None
    is_required: bool
    place: Place
    # In a settings class: a secret by its type; a list, which is written as JSON.
    is_secret: bool = False
    is_list: bool = False
    # The values of a Literal or an Enum, () for any.
    choices: tuple[str, ...] = ()
    # The code makes a number of it.
    is_number: bool = False
    # Its type accepts only URLs.
    is_url: bool = False


class Reader(NamedTuple):
    """A function that reads a variable: the positions of the arguments with its name and default, and what it makes of
    the name."""

    position: int
    fallback: int | None
    before: str = ""
    after: str = ""
    is_upper: bool = False

    def name_of(self, given: str) -> str:
        return f"{self.before}{given.upper() if self.is_upper else given}{self.after}"


Part = str | Env | None
Value = tuple[Part, ...]
UNKNOWN: Value = (None,)
# The prefix of paths relative to the code's own folders.
TOP = "/\0top"
MAX_DEPTH = 14


@dataclass(frozen=True)
class Scope:
    """The scope of an expression. `owner` is the class of `self`."""

    module: Module
    function: Function | None = None
    owner: tuple[Module, ast.ClassDef] | None = None


def text_of(value: Value) -> str | None:
    """The string with the defaults of its variables; None if a part is unknown."""
    parts = [part.default if isinstance(part, Env) else part for part in value]
    known = [part for part in parts if part is not None]
    return "".join(known) if len(known) == len(parts) else None


def beginning_of(value: Value) -> str:
    """The string up to the first unknown part."""
    found = ""
    for part in value:
        text = part.default if isinstance(part, Env) else part
        if text is None:
            break
        found += text
    return found


def best_of(values: list[Value]) -> Value:
    """Of the values that a name may have, the one that a variable sets; else the first known one."""
    known = [value for value in values if None not in value]
    return next((value for value in known if envs_in(value)), [*known, *values, UNKNOWN][0])


def envs_in(value: Value) -> list[Env]:
    return [part for part in value if isinstance(part, Env)]


def without_places(value: Value) -> tuple[str | None, ...]:
    return tuple(f"${part.name}" if isinstance(part, Env) else part for part in value)


def local(scope: Scope, name: str) -> list[ast.expr]:
    """The values that a function, including its parameters' defaults, or the body of a class assigns to a name."""
    if scope.function:
        return _assigned_in(scope.function).get(name, [])
    return _assigned_in(scope.owner[1]).get(name, []) if scope.owner else []


def parameters(function: Function) -> dict[str, ast.expr | None]:
    """A function's parameters, with their annotations."""
    its = function.args
    return {one.arg: one.annotation for one in (*its.posonlyargs, *its.args, *its.kwonlyargs)}


@cache
def _assigned_in(function: Function | ast.ClassDef) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}

    def look(statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for target, value in assignments(statement):
                found.setdefault(target, []).append(value)
            for inner in blocks(statement):
                look(inner)

    look(function.body)
    if isinstance(function, ast.ClassDef):
        return found
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults = function.args.defaults
    pairs = [*zip(positional[len(positional) - len(defaults) :], defaults, strict=True)]
    pairs += [(one, its) for one, its in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if its]
    for parameter, default in pairs:
        found.setdefault(parameter.arg, []).append(default)
    return found


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or node.value is Ellipsis)


def joined(*values: Value) -> Value:
    """Concatenated values, with adjacent strings merged."""
    parts: list[Part] = []
    for part in (part for value in values for part in value):
        last = parts[-1] if parts else None
        if isinstance(part, str) and isinstance(last, str):
            parts[-1] = last + part
        elif part != "":
            parts.append(part)
    return tuple(parts) or ("",)


def parent_of(value: Value) -> Value:
    text = text_of(value)
    return UNKNOWN if text is None else (posixpath.dirname(text) if "/" in text else ".",)


_OF_INTEREST = (
    *(ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Return),
    *(ast.Call, ast.Subscript, ast.Attribute, ast.JoinedStr, ast.BinOp, ast.arg, ast.keyword, ast.withitem, ast.If),
    *(ast.Compare, ast.Match),
)


def walk(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
    """The nodes below a node with their scopes; not below `if __name__ ...`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_main(child):
            continue
        if isinstance(child, _OF_INTEREST):
            yield child, scope
        inner = scope
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = Scope(scope.module, child, scope.owner)
        elif isinstance(child, ast.ClassDef):
            inner = Scope(scope.module, None, (scope.module, child))
        yield from walk(child, inner)
