"""Finds which names and attributes of an application are clients of MongoDB."""

from __future__ import annotations

import ast
import re

from slipway.starter.reading.python import Function, Module, called, dotted_of
from slipway.starter.reading.value import Scope, parameters
from slipway.starter.reading.values import Values

CLIENTS = {"MongoClient", "AsyncIOMotorClient", "AsyncMongoClient", "MotorClient", "AgnosticClient"}
# Their databases, whose attribute `client` is the client.
_DATABASES = {"Database", "AsyncIOMotorDatabase", "AsyncDatabase", "MotorDatabase", "AgnosticDatabase"}
# Types that hold several.
_CONTAINER = re.compile(r"\w*dict(ionary)?|\w*mapping|list|sequence|iterable", re.IGNORECASE)
_PROPERTIES = {"property", "cached_property"}


class Clients:
    """The clients in some modules."""

    def __init__(self, values: Values, modules: list[Module]) -> None:
        self.values = values
        # By definition, (file, name); and by object, (file, class) or the name that it has, with the attribute.
        self._names: set[tuple[str, str]] = set()
        self._attributes: set[tuple[tuple[str, str] | str, str]] = set()
        # The same for databases.
        self._database_names: set[tuple[str, str]] = set()
        self._database_attributes: set[tuple[tuple[str, str] | str, str]] = set()
        listed = values.nodes(modules)
        for node, scope in listed:
            self._assigned(node, scope)
        given = [(node, scope) for node, scope in listed if isinstance(node, ast.Assign | ast.AnnAssign)]
        for node, scope in given:
            if isinstance(node.value, ast.Call | ast.Await) and self.is_one(node.value, scope):
                self._record(_targets(node), scope, self._names, self._attributes)
        for node, scope in given:
            if node.value and self._is_selected(node.value, scope):
                self._record(_targets(node), scope, self._database_names, self._database_attributes)

    def _assigned(self, node: ast.AST, scope: Scope) -> None:
        """Record the names that a client is assigned to."""
        targets: list[ast.expr] = []
        value = getattr(node, "value", None)
        annotation = getattr(node, "annotation", None)
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.withitem) and node.optional_vars:
            targets, value = [node.optional_vars], node.context_expr
        is_annotated = isinstance(node, ast.AnnAssign) and _names(annotation, CLIENTS, scope.module)
        is_made = isinstance(value, ast.expr) and _makes_client(value)
        if (
            isinstance(node, ast.arg)
            and "client" in node.arg.lower()
            and _names(node.annotation, CLIENTS, scope.module)
        ):
            # Not `db: MongoClient`, a common annotation of databases.
            self._names.add((scope.module.file, node.arg))
        if is_annotated or is_made:
            self._record(targets, scope, self._names, self._attributes)
        if (
            isinstance(node, ast.FunctionDef)
            and scope.owner
            and _is_property(node)
            and _names(node.returns, CLIENTS, scope.module)
        ):
            self._attributes.add(((scope.owner[0].file, scope.owner[1].name), node.name))

    def _record(
        self,
        targets: list[ast.expr],
        scope: Scope,
        names: set[tuple[str, str]],
        attributes: set[tuple[tuple[str, str] | str, str]],
    ) -> None:
        for target in targets:
            if isinstance(target, ast.Name):
                names.add((scope.module.file, target.id))
                if scope.owner and not scope.function:
                    attributes.add(((scope.owner[0].file, scope.owner[1].name), target.id))
            elif isinstance(target, ast.Attribute):
                attributes |= {(one, target.attr) for one in self._objects(target.value, scope)}

    def _objects(self, node: ast.expr, scope: Scope) -> list[tuple[str, str] | str]:
        """What an object is known by: its classes, and its last name."""
        owner = self.values.classes.of(node, scope)
        name = dotted_of(node).rpartition(".")[2]
        found: list[tuple[str, str] | str] = [one.key for one in self.values.classes.bases(owner)] if owner else []
        return [*found, name] if name not in ("", "self", "cls") else found

    def is_attribute(self, name: str) -> bool:
        """Whether an attribute of some object is a client, by its name."""
        return any(name == attribute for _, attribute in self._attributes)

    def makes(self, node: ast.AST, scope: Scope) -> bool:
        """Whether a call creates a client."""
        name = called(node)
        if name in CLIENTS:
            return True
        if name not in ("connect", "register_connection") or not isinstance(node, ast.Call):
            return False
        source = scope.module.imports.get(dotted_of(node.func).partition(".")[0], ("",))[0]
        return source.startswith("mongoengine") or "mongoengine" in scope.module.stars

    def is_one(self, node: ast.expr, scope: Scope) -> bool:
        """Whether an expression is a client."""
        match node:
            case ast.Name(id=name):
                return self._is_named(name, scope, self._names)
            case ast.Attribute(value=value, attr=name):
                if name == "client" and self._is_database(value, scope):
                    return True
                return any((one, name) in self._attributes for one in self._objects(value, scope))
            case ast.Call():
                return self.makes(node, scope) or self._is_returned(node, scope)
            case ast.Await(value=value):
                return self.is_one(value, scope)
        return False

    def _is_returned(self, call: ast.Call, scope: Scope) -> bool:
        """Whether a function of the application returns a client."""
        if not (found := self.values.function(call.func, scope)):
            return False
        module, function = found
        if "client" in function.name.lower() and _names(function.returns, CLIENTS, module):
            return True
        returned = [one.value for one in ast.walk(function) if isinstance(one, ast.Return)]
        return any(one is not None and _makes_client(one) for one in returned)

    def _is_named(self, name: str, scope: Scope, names: set[tuple[str, str]]) -> bool:
        if (scope.module.file, name) in names:
            return True
        found = self.values.code.defined(scope.module, name)
        return found is not None and (found[0].file, found[1]) in names

    def _is_selected(self, node: ast.expr, scope: Scope) -> bool:
        """Whether an expression is a database of a client."""
        match node:
            case ast.Subscript(value=value):
                return self.is_one(value, scope)
            case ast.Call(func=ast.Attribute(value=value, attr="get_database" | "get_default_database")):
                return self.is_one(value, scope)
        function = self.values.function(node.func, scope) if isinstance(node, ast.Call) else None
        return function is not None and _names(function[1].returns, _DATABASES, function[0])

    def _is_database(self, node: ast.expr, scope: Scope) -> bool:
        match node:
            case ast.Name(id=name):
                given = parameters(scope.function) if scope.function else {}
                if name in given:
                    return _names(given[name], _DATABASES, scope.module)
                return self._is_named(name, scope, self._database_names)
            case ast.Attribute(value=value, attr=name):
                return any((one, name) in self._database_attributes for one in self._objects(value, scope))
        return self._is_selected(node, scope)


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return [*node.targets] if isinstance(node, ast.Assign) else [node.target]


def _is_property(function: Function) -> bool:
    return any(dotted_of(one).rpartition(".")[2] in _PROPERTIES for one in function.decorator_list)


def _makes_client(node: ast.expr) -> bool:
    """Whether an expression creates a client, rather than a database."""
    match node:
        case ast.Await(value=inner) | ast.NamedExpr(value=inner):
            return _makes_client(inner)
        case ast.BoolOp(values=values):
            return any(map(_makes_client, values))
        case ast.IfExp(body=body, orelse=orelse):
            return _makes_client(body) or _makes_client(orelse)
    return called(node) in CLIENTS


def _names(annotation: ast.expr | None, types: set[str], module: Module) -> bool:
    """Whether an annotation in a module has one of some types, by whatever name it is imported."""
    words = re.findall(r"\w+", ast.dump(annotation)) if annotation is not None else []
    if any(_CONTAINER.fullmatch(word) for word in words):
        return False
    return any(module.imports.get(word, ("", word))[1] in types for word in words)
