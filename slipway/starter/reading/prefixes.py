"""Finds the prefix that environs puts before a variable's name: `with env.prefixed("SHOP_"): env.str("NAME")`."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from slipway.starter.reading.files import Place
from slipway.starter.reading.python import dotted_of
from slipway.starter.reading.value import Env, Scope, text_of

if TYPE_CHECKING:
    from slipway.starter.reading.values import Values


class Prefixes:
    """The prefixes of the variables in some modules."""

    def __init__(self, values: Values) -> None:
        self.values = values
        # Where a prefix could not be followed.
        self.unknown: dict[Place, None] = {}
        # By file: the prefixes around a call, outer ones first.
        self._around: dict[str, dict[int, list[ast.Call]]] = {}

    def added(self, env: Env, node: ast.Call, scope: Scope) -> Env | None:
        """The variable with its prefix, None if that is unknown."""
        prefix = ""
        for made in self._of(node, scope):
            given = self.values.of(made.args[0], scope) if made.args else (None,)
            # A prefix that a variable gives is not known.
            text = text_of(given) if all(isinstance(part, str) for part in given) else None
            if text is None:
                self.unknown[scope.module.place(made)] = None
                return None
            prefix += text
        return replace(env, name=f"{prefix}{env.name}")

    def _of(self, node: ast.Call, scope: Scope) -> list[ast.Call]:
        """The calls of `prefixed` of the same object around a call."""
        file = scope.module.file
        if file not in self._around:
            self._around[file] = {}
            _find(scope.module.tree, [], self._around[file])
        reader = dotted_of(node.func)
        around = self._around[file].get(id(node), ())
        return [one for one in around if _owner(one) in (reader, reader.rpartition(".")[0])]


def _owner(call: ast.Call) -> str:
    return dotted_of(call.func).removesuffix(".prefixed")


def _find(node: ast.AST, prefixes: list[ast.Call], found: dict[int, list[ast.Call]]) -> None:
    """Record the calls in `with` statements with the prefixes around them."""
    if isinstance(node, ast.Call) and prefixes:
        found[id(node)] = prefixes
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        # It is called elsewhere.
        prefixes = []
    if not isinstance(node, ast.With):
        for child in ast.iter_child_nodes(node):
            _find(child, prefixes, found)
        return
    inner = list(prefixes)
    for item in node.items:
        _find(item.context_expr, inner, found)
        call = item.context_expr
        if isinstance(call, ast.Call) and dotted_of(call.func).endswith(".prefixed"):
            inner.append(call)
    for statement in node.body:
        _find(statement, inner, found)
