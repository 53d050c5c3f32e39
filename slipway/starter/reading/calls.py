"""Finds what an application's own calls give to the parameters of its functions and classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from slipway.starter.reading.python import Module, argument, called
from slipway.starter.reading.value import Scope

if TYPE_CHECKING:
    from slipway.starter.reading.values import Values

# A function with more calls is a helper, whose parameters have no single value.
MAX_CALLS = 8
# A name with more is that of many functions, or of methods of libraries.
MAX_SAME_NAME = 200


class Calls:
    """The calls in the modules of an application."""

    def __init__(self, values: Values, modules: list[Module]) -> None:
        self.values, self.modules = values, modules
        # Parameters that are being resolved: functions may call each other.
        self._open: set[tuple[int, str]] = set()
        self._is_ignored = False
        # The calls of each function.
        self._found: dict[int, list[tuple[ast.Call, Scope]]] = {}

    @cached_property
    def _by_name(self) -> dict[str, list[tuple[ast.Call, Scope]]]:
        found: dict[str, list[tuple[ast.Call, Scope]]] = {}
        for node, scope in self.values.nodes(self.modules):
            if isinstance(node, ast.Call) and (name := called(node)):
                found.setdefault(name, []).append((node, scope))
        return found

    def arguments(self, name: str, scope: Scope) -> list[tuple[ast.expr, Scope]]:
        """What each call gives to a parameter of the function of `scope`; [] if it is none, or a call is unclear."""
        function = scope.function
        if not function or self._is_ignored or (id(function), name) in self._open:
            return []
        positional = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        if name not in positional and name not in [one.arg for one in function.args.kwonlyargs]:
            return []
        if id(function) not in self._found:
            self._found[id(function)] = self._of(scope)
        calls = self._found[id(function)]
        is_method = scope.owner is not None and function in scope.owner[1].body
        position = positional.index(name) - is_method if name in positional else None
        found = []
        for call, there in calls if len(calls) <= MAX_CALLS else ():
            call = self._spread(call, there)
            given = argument(call, name, position)
            is_unclear = any(isinstance(one, ast.Starred) for one in call.args) or None in [
                one.arg for one in call.keywords
            ]
            if given is None and is_unclear:
                return []
            # A function that calls itself hands it on.
            is_same = isinstance(given, ast.Name) and given.id == name and there.function is function
            if given is not None and not is_same:
                found.append((given, there))
        return found

    def _spread(self, call: ast.Call, scope: Scope) -> ast.Call:
        """The call with the items of a tuple in the code that it gives as `*items`."""
        args: list[ast.expr] = []
        for one in call.args:
            made = self.values.assigned(one.value, scope) if isinstance(one, ast.Starred) else []
            items = made[0] if len(made) == 1 else None
            args += items.elts if isinstance(items, ast.Tuple | ast.List) else [one]
        return ast.Call(call.func, args, call.keywords)

    @contextmanager
    def resolving(self, name: str, scope: Scope) -> Iterator[None]:
        """Without the arguments for this parameter, which would be asked for again and again."""
        key = (id(scope.function), name)
        self._open.add(key)
        try:
            yield
        finally:
            self._open.discard(key)

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Without any arguments."""
        before, self._is_ignored = self._is_ignored, True
        try:
            yield
        finally:
            self._is_ignored = before

    def _of(self, scope: Scope) -> list[tuple[ast.Call, Scope]]:
        """The calls of the function of `scope`."""
        function, owner = scope.function, scope.owner
        assert function is not None
        if len(self._by_name.get(function.name, ())) > MAX_SAME_NAME:
            return []
        if owner is None or function not in owner[1].body:
            calls = self._by_name.get(function.name, [])
            return [one for one in calls if (its := self.values.function(one[0].func, one[1])) and its[1] is function]
        if function.name == "__init__":
            calls = self._by_name.get(owner[1].name, [])
            named = [(one, self.values.classes.named(one[0].func, one[1].module)) for one in calls]
        else:
            calls = [one for one in self._by_name.get(function.name, []) if isinstance(one[0].func, ast.Attribute)]
            named = [(one, self.values.classes.of(getattr(one[0].func, "value", None), one[1])) for one in calls]
        return [one for one, its in named if its and its.definition is owner[1]]
