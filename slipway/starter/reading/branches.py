"""Finds which branch of a condition holds on the server, where the condition asks for an environment variable."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from slipway.starter.reading.value import MAX_DEPTH, Env, Scope, Value, envs_in, local, text_of, without_places

if TYPE_CHECKING:
    from slipway.starter.reading.values import Values
    from slipway.starter.reading.variables import Variables

# Methods that change the case of a text.
_CASES = {"lower", "upper", "casefold"}
Conditions = list[tuple[ast.expr, bool]]


class Branches:
    """The branches of the conditions in an application. Without `variables`, none is decided."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.variables: Variables | None = None
        # By file: the conditions around a statement's value, with what each must be.
        self._around: dict[str, dict[int, Conditions]] = {}
        self._open: set[int] = set()

    def holds(self, test: ast.expr, scope: Scope, depth: int = 0) -> bool | None:
        """Whether a condition is true on the server; None if that is not known."""
        # A condition may ask for the value that it decides on.
        if self.variables is None or depth > MAX_DEPTH or id(test) in self._open:
            return None
        self._open.add(id(test))
        try:
            return self._holds(test, scope, depth)
        finally:
            self._open.discard(id(test))

    def _holds(self, test: ast.expr, scope: Scope, depth: int) -> bool | None:
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.holds(operand, scope, depth + 1)
                return None if inner is None else not inner
            case ast.BoolOp(op=op, values=values):
                parts = [self.holds(one, scope, depth + 1) for one in values]
                ends = isinstance(op, ast.Or)
                return ends if ends in parts else None if None in parts else not ends
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as op], comparators=[right]):
                same = self._is_same(left, [right], scope, depth)
                same = self._is_same(right, [left], scope, depth) if same is None else same
                return None if same is None else same == isinstance(op, ast.Eq)
            case ast.Compare(
                left=left,
                ops=[ast.In() | ast.NotIn() as op],
                comparators=[ast.List() | ast.Tuple() | ast.Set() as all_],
            ):
                same = self._is_same(left, all_.elts, scope, depth)
                return None if same is None else same == isinstance(op, ast.In)
            case ast.Name(id=name):
                found, there = local(scope, name), scope
                if not found and (defined := self.values.code.defined(scope.module, name)):
                    found, there = defined[0].assigned.get(defined[1], []), Scope(defined[0])
                if len(found) == 1:
                    return self.holds(found[0], there, depth + 1)
            case ast.Call() | ast.Subscript():
                env = self.values.env(test, scope)
                # Any text is true; what else a default may be is not known.
                if env and (not (known := self._value(env)) or known.lower() not in ("true", "false", "0", "1")):
                    return None if known is None else bool(known)
        return None

    def _is_same(self, asked: ast.expr, others: list[ast.expr], scope: Scope, depth: int) -> bool | None:
        """Whether a variable has one of some values."""
        value = self.values.of(asked, scope, depth + 1)
        env = value[0] if len(value) == 1 else None
        texts = [one.value for one in others if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        known = self._value(env) if isinstance(env, Env) else None
        if known is None or len(texts) != len(others):
            return None
        if any(isinstance(node, ast.Attribute) and node.attr in _CASES for node in ast.walk(asked)):
            return known.lower() in [text.lower() for text in texts]
        return known in texts

    def _value(self, env: Env) -> str | None:
        return self.variables.on_server(env) if self.variables else None

    # --- What is assigned or made in a branch -------------------------------------------------------------------------

    def is_reached(self, node: ast.AST, scope: Scope) -> bool | None:
        """Whether the statement with this value is reached; None if that is not known."""
        file = scope.module.file
        if file not in self._around:
            self._around[file] = {}
            self._look(scope.module.tree, [], self._around[file])
        if id(node) in self._open:
            # The condition asks for the name itself: `if x == "a": x = "b"`.
            return None
        self._open.add(id(node))
        held = [(self.holds(test, scope), wanted) for test, wanted in self._around[file].get(id(node), ())]
        self._open.discard(id(node))
        if any(found is not None and found != wanted for found, wanted in held):
            return False
        return None if any(found is None for found, _ in held) else True

    def _look(self, node: ast.AST, conditions: Conditions, found: dict[int, Conditions]) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and conditions:
            found[id(node.value)] = conditions
        if not isinstance(node, ast.If):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                    self._look(child, conditions, found)
            return
        for statements, wanted in ((node.body, True), (node.orelse, False)):
            for statement in statements:
                self._look(statement, [*conditions, (node.test, wanted)], found)

    def texts(self, node: ast.expr, scope: Scope, depth: int = 0) -> list[str]:
        """The different texts that an expression may be on the server, if all of them are known."""
        nodes = [(node, scope)]
        match node:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                held = self.holds(test, scope)
                nodes = [(one, scope) for one, wanted in ((body, True), (orelse, False)) if held in (None, wanted)]
            case ast.Name(id=name):
                made, there = local(scope, name), scope
                if not made and (defined := self.values.code.defined(scope.module, name)):
                    made, there = defined[0].assigned.get(defined[1], []), Scope(defined[0])
                if any(envs_in(self.values.of(one, there)) for one in made):
                    return []
                nodes = [(one, there) for one in self._kept(made, there)]
        if depth < MAX_DEPTH and nodes != [(node, scope)]:
            return [*dict.fromkeys(text for one in nodes for text in self.texts(*one, depth + 1))]
        value: Value = self.values.of(node, scope)
        text = None if envs_in(value) else text_of(value)
        return [text] if text else []

    def reached(self, nodes: list[ast.expr], scope: Scope, given: list[Value]) -> list[Value]:
        """Of the values that a name is given, those of statements that are reached; all if one is of a variable."""
        if self.variables is None or any(envs_in(value) for value in given) or len({*map(without_places, given)}) < 2:
            return given
        kept = [id(node) for node in self._kept(nodes, scope)]
        return [value for node, value in zip(nodes, given, strict=True) if id(node) in kept] or given

    def _kept(self, nodes: list[ast.expr], scope: Scope) -> list[ast.expr]:
        """Those of a name's values that it may have: not of other branches, nor from before a branch that is taken."""
        kept: list[ast.expr] = []
        for node in nodes:
            is_reached = self.is_reached(node, scope)
            if is_reached and self._around[scope.module.file].get(id(node)):
                kept = []
            kept += [node] if is_reached is not False else []
        return kept
